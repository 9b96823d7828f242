"""The private directory `bw` works in: seeded by us, so that nothing is sent before it matches.

An empty or truncated data.json makes `bw` send the API key to bitwarden.com; one that names our
server does not (bw.md 6, 10). After login it says what was proven, and what the lists must hold.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from vault_svc.adapters.sources.vaultwarden.account import Account
from vault_svc.adapters.sources.vaultwarden.jsontext import parsed
from vault_svc.adapters.sources.vaultwarden.options import Options
from vault_svc.errors import ColibriError
from vault_svc.hazmat import hostfiles, scratchdir
from vault_svc.hazmat.scratchdir import Scratch

_DATA: Final = "data.json"
_CA: Final = "ca.pem"
_PLACES: Final = ("/dev/shm", "/run")  # noqa: S108 - judged, and only if they are in memory
_SCRATCH: Final = "run"


@dataclass(frozen=True, slots=True)
class AppData:
    """One session's directory and the environment every child of the session starts from."""

    directory: Scratch
    account: Account
    max_bytes: int

    def environment(self, **one_secret: str) -> dict[str, str]:
        """Return a child's whole environment: nothing inherited, at most one secret added."""
        base = {
            "PATH": "/usr/bin:/bin",
            "HOME": self.directory.path,
            "LANG": "C.UTF-8",
            "BITWARDENCLI_APPDATA_DIR": self.directory.path,
            "BW_NOINTERACTION": "true",
        }
        if self.account.ca:
            base["NODE_EXTRA_CA_CERTS"] = f"{self.directory.path}/{_CA}"
        return base | one_secret

    def seed(self) -> None:
        """Write the server and the fixed device id before anything of `bw` runs."""
        urls = {"base": self.account.server}
        state = {
            "global_applicationId_appId": self.account.device_id,
            "global_environment_environment": {"region": "Self-hosted", "urls": urls},
        }
        self.directory.write(_DATA, json.dumps(state).encode())
        if self.account.ca:
            self.directory.write(_CA, self.account.ca.encode())

    def state(self) -> dict[str, Any]:
        """Return data.json; raise `source_incomplete` where it is no whole document."""
        found = parsed(self.directory.read(_DATA, self.max_bytes))
        if not isinstance(found, dict):
            # bw empties a damaged file at its next start: never let it start again.
            raise ColibriError("source_incomplete", "bw left a state that is not whole")
        return found


@contextmanager
def private(account: Account, options: Options) -> Iterator[AppData]:
    """Make the directory, seeded; remove it on every way out; the caller holds the lock."""
    with scratchdir.scratch(places(options), "bw", options.data_dir) as directory:
        made = AppData(directory, account, options.max_appdata_bytes)
        made.seed()
        yield made


def places(options: Options) -> Sequence[str]:
    """Return where the directory may be made, best first: in memory where the host has that."""
    if options.runtime_dir:
        return (options.runtime_dir,)
    own = f"/run/user/{os.geteuid()}"
    found = [place for place in (own, *_PLACES) if scratchdir.in_memory(place)]
    if found:
        return found
    fallback = f"{options.data_dir}/{_SCRATCH}"
    hostfiles.make_directory(fallback, "unsafe_base")
    return (fallback,)


def proven(state: dict[str, Any], account: Account) -> None:
    """Raise unless state shows a login to our server, as our user, with a whole sync.

    `server_mismatch` where any address is another, `source_incomplete` where nothing was synced:
    `bw` exits 0 for a login whose sync failed (bw.md 4.2).
    """
    user = account.user_id
    for key in ("global_environment_environment", f"user_{user}_environment_environment"):
        if not _is_ours(state.get(key), account.server):
            raise ColibriError(
                "server_mismatch", "bw was led to another server than the configured one"
            )
    if state.get("global_applicationId_appId") != account.device_id:
        raise ColibriError("source_incomplete", "bw did not keep the device id it was given")
    if state.get("global_account_activeAccountId") != user:
        raise ColibriError("source_incomplete", "the login is not proven: bw has no account")
    if not synced(state, account):
        raise ColibriError("source_incomplete", "the server took the login, but nothing was synced")


def synced(state: dict[str, Any], account: Account) -> bool:
    """Say whether the login's sync was whole."""
    return bool(state.get(f"user_{account.user_id}_sync_lastSync"))


def _is_ours(environment: Any, server: str) -> bool:
    urls = environment.get("urls") if isinstance(environment, dict) else None
    if not isinstance(urls, dict) or urls.get("base") != server:
        return False
    return all(value is None for name, value in urls.items() if name != "base")
