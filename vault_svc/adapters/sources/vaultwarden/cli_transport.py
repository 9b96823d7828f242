"""Transport `cli`: one `bw` process per step; the password goes through a pipe."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from typing import Any, Final

from vault_svc.adapters.sources.vaultwarden import failures
from vault_svc.adapters.sources.vaultwarden.answers import Lists, organization
from vault_svc.adapters.sources.vaultwarden.appdata import AppData
from vault_svc.adapters.sources.vaultwarden.jsontext import parsed
from vault_svc.adapters.sources.vaultwarden.options import Options
from vault_svc.errors import ColibriError
from vault_svc.hazmat import proc

_SESSION_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{86}==", re.ASCII)


def bw(
    appdata: AppData,
    options: Options,
    step: str,
    *arguments: str,
    secret: dict[str, str] | None = None,
    pass_fds: tuple[int, ...] = (),
    meanwhile: Callable[[], object] | None = None,
) -> proc.Finished:
    """Run one `bw` to its end; raise `helper_timeout` naming the step, or `source_incomplete`."""
    helper = appdata.account.helper
    try:
        done = proc.run(
            helper.argv(*arguments, "--nointeraction", max_memory_bytes=options.max_memory_bytes),
            timeout_seconds=options.timeout_seconds,
            env=appdata.environment(**(secret or {})),
            max_output_bytes=options.max_output_bytes,
            limits=proc.Limits(file_bytes=options.max_appdata_bytes),
            pass_fds=pass_fds,
            tied=True,
            meanwhile=meanwhile,
        )
    except ColibriError as error:
        if error.code != "helper_timeout":
            raise
        raise timed_out(step, options) from None
    if done.overflow:
        raise ColibriError(
            "source_incomplete",
            f"{step}: bw wrote more than {options.max_output_bytes} bytes",
            hint="raise the setting bw_max_output_bytes, if the organisation is that large",
        )
    return done


def timed_out(step: str, options: Options) -> ColibriError:
    """Return the error of a step that did not end in time."""
    return ColibriError(
        "helper_timeout",
        f"{step}: bw did not end within {options.timeout_seconds:g} seconds",
        hint="is the server slow? the setting is bw_timeout_seconds",
    )


def read(appdata: AppData, options: Options, wanted: str, *, items: bool) -> Lists:
    """Unlock and return the lists of the organisation of this name or id.

    Everything is decrypted from the login's own sync: no request is made.
    """
    session = {"BW_SESSION": _unlock(appdata, options)}
    organization_id = ""

    def listed(kind: str) -> tuple[Any, bool]:
        step = f"list {kind}"
        only = () if kind == "organizations" else ("--organizationid", organization_id)
        done = bw(appdata, options, step, "list", kind, *only, secret=session)
        if done.status != 0:
            raise failures.failure(step, done.stderr)
        complained = failures.complained(step, done.stderr)
        found = parsed(done.stdout)
        if not isinstance(found, list):
            raise ColibriError("source_incomplete", f"{step}: bw gave no whole list")
        return found, complained

    organizations, first = listed("organizations")
    organization_id = organization(organizations, wanted)["id"]
    collections, second = listed("collections")
    found, third = listed("items") if items else (None, False)
    return Lists(organizations, collections, found, complained=first or second or third)


def _unlock(appdata: AppData, options: Options) -> str:
    done = _try_unlock(appdata, options)
    if done.status != 0 and failures.is_backfill(done.stderr):
        done = _try_unlock(appdata, options)  # 2026.9 succeeds at the second try (bw.md 4.3)
    if done.status != 0 or done.stderr:
        raise failures.failure("unlock", done.stderr)
    if not _SESSION_KEY.fullmatch(done.stdout):
        raise ColibriError("source_incomplete", "unlock: bw gave no session")
    return done.stdout.decode("ascii")


def _try_unlock(appdata: AppData, options: Options) -> proc.Finished:
    ours, theirs = os.pipe()
    try:
        # A pipe holds 64 KiB (pipe(7)), and a password is shorter: this never waits.
        with open(theirs, "wb") as end:  # noqa: PTH123 - a descriptor
            end.write(appdata.account.password.reveal().encode() + b"\n")
        arguments = ("unlock", "--raw", "--passwordfile", f"/dev/fd/{ours}")
        return bw(appdata, options, "unlock", *arguments, pass_fds=(ours,))
    finally:
        with contextlib.suppress(OSError):
            os.close(ours)
