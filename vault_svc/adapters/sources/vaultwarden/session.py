"""One session: lock, private directory, proven login, read, everything killed and removed.

There is no standing session. SIGTERM, SIGINT and SIGHUP wait until nothing is left (bw.md 10).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from vault_svc.adapters.sources.vaultwarden import (
    answers,
    appdata,
    cli_transport,
    failures,
    helper,
    serve_transport,
)
from vault_svc.adapters.sources.vaultwarden.account import Account
from vault_svc.adapters.sources.vaultwarden.answers import Lists, Stored
from vault_svc.adapters.sources.vaultwarden.appdata import AppData
from vault_svc.adapters.sources.vaultwarden.lock import only_session
from vault_svc.adapters.sources.vaultwarden.options import Options
from vault_svc.errors import ColibriError
from vault_svc.hazmat import ending
from vault_svc.ports.clock import Clock

TRANSPORTS: Final[dict[str, Callable[..., Lists]]] = {
    "serve": serve_transport.read,
    "cli": cli_transport.read,
}
LOCK: Final = "vaultwarden.lock"
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{86}==", re.ASCII)
_SYNCED: Final = b"Syncing complete."


@dataclass(frozen=True, slots=True)
class Sessions:
    """Runs sessions, one at a time on this host.

    meanwhile is called while `bw` logs in, for seconds and on another core.
    """

    options: Options
    clock: Clock
    meanwhile: Callable[[], object] | None = None

    def read(self, account: Account, wanted: str, *, items: bool) -> tuple[Lists, Stored]:
        """Return what `bw` lists of an organisation, by name or id, and what its sync stored.

        items False leaves the items out. Raises `helper_untrusted`, `helper_missing`,
        `helper_timeout`, `busy`, `no_space` and the source's codes.
        """
        path = f"{self.options.data_dir}/{LOCK}"
        with (
            ending.held_back(),
            only_session(path, self.clock, self.options.lock_timeout_seconds),
        ):
            helper.verify(account.helper, untested_version=self.options.untested_version)
            with appdata.private(account, self.options) as place:
                try:
                    return self._read(place, wanted, items=items)
                except ColibriError as error:
                    # bw says nothing of it: a full directory looks like an answer cut off.
                    if error.code == "source_incomplete" and place.directory.is_full():
                        raise failures.failure("bw", b"ENOSPC") from None
                    raise
        raise ending.EndedError  # a held-back signal's handler came back

    def _read(self, place: AppData, wanted: str, *, items: bool) -> tuple[Lists, Stored]:
        self._login(place)
        kept = answers.stored(place.state(), place.account.user_id)
        read = TRANSPORTS[self.options.transport]
        return read(place, self.options, wanted, items=items), kept

    def _login(self, place: AppData) -> None:
        """Log in, which syncs; prove it by the state, because `bw` ends with 0 either way."""
        account = place.account
        keys = {
            "BW_CLIENTID": account.client_id,
            "BW_CLIENTSECRET": account.client_secret.reveal(),
        }
        done = cli_transport.bw(
            place, self.options, "login", "login", "--apikey", "--raw", secret=keys,
            meanwhile=self.meanwhile,
        )  # fmt: skip
        if done.status != 0:
            raise failures.failure("login", done.stderr)
        state = place.state()
        if state.get("global_account_activeAccountId") is None:
            raise _logged_out(done.stdout, done.stderr)
        if not appdata.synced(state, account):
            self._sync_again(place)
            state = place.state()
        elif not failures.is_clean_login(done.stderr) or not _KEY.fullmatch(done.stdout):
            raise failures.failure("login", done.stderr)
        appdata.proven(state, account)

    def _sync_again(self, place: AppData) -> None:
        """Sync once more after a login that did not: it works, or says why it can't."""
        done = cli_transport.bw(place, self.options, "sync", "sync", "--force")
        if done.status != 0:
            raise failures.failure("sync", done.stderr)
        if done.stdout.strip() != _SYNCED or not failures.is_clean_login(done.stderr):
            raise ColibriError("source_incomplete", "sync: the server's answer was cut off")


def _logged_out(stdout: bytes, stderr: bytes) -> ColibriError:
    """Return why a login left no account: `bw` logs itself out after 401 and 403."""
    if stderr.strip():
        return failures.failure("login", stderr)
    if stdout == b"undefined":
        return ColibriError(
            "source_forbidden",
            "login: the server refused the account this read",
            hint="see the runbook vaultwarden-account.md",
        )
    return ColibriError("source_incomplete", "login: the server's answer was cut off")
