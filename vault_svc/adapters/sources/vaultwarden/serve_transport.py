"""Transport `serve`: `bw serve` on an inherited socket pair that has no address (bw.md 7).

Password and session key never enter an environment or a file. One HTTP/1.1 connection, asked by
us only; the process is killed at the end, because it does not notice that we are gone.
"""

from __future__ import annotations

import http.client
import io
import json
import socket
import time
from typing import Any, Final, cast

from vault_svc.adapters.sources.vaultwarden import failures
from vault_svc.adapters.sources.vaultwarden.answers import Lists, organization
from vault_svc.adapters.sources.vaultwarden.appdata import AppData
from vault_svc.adapters.sources.vaultwarden.cli_transport import timed_out
from vault_svc.adapters.sources.vaultwarden.jsontext import parsed
from vault_svc.adapters.sources.vaultwarden.options import Options
from vault_svc.errors import ColibriError
from vault_svc.hazmat import proc

_HOST: Final = "localhost:8087"  # the only name it answers to on a socket without an address
_OK: Final = 200
_INTERNAL: Final = 500
_ERROR_BYTES: Final = 65_536


def read(appdata: AppData, options: Options, wanted: str, *, items: bool) -> Lists:
    """Start it, unlock, return the lists of the organisation of this name or id, and kill it."""
    ours, theirs = socket.socketpair()
    arguments = ("serve", "--hostname", f"fd+connected://{theirs.fileno()}", "--nointeraction")
    argv = appdata.account.helper.argv(*arguments, max_memory_bytes=options.max_memory_bytes)
    with (
        ours,
        theirs,
        proc.background(
            argv,
            env=appdata.environment(),
            pass_fds=(theirs.fileno(),),
            max_output_bytes=options.max_output_bytes,
            limits=proc.Limits(file_bytes=options.max_appdata_bytes),
        ) as child,
    ):
        theirs.close()
        asking = _Asking(ours, child, options)
        asking.unlock(appdata)
        return asking.lists(wanted, items=items)


class _Asking:
    """The conversation with one `bw serve`."""

    def __init__(self, ours: socket.socket, child: proc.Background, options: Options) -> None:
        self._socket = ours
        self._child = child
        self._options = options
        self._judged = 0

    def unlock(self, appdata: AppData) -> None:
        """Unlock with the master password; once more where 2026.9 could not tell its key id."""
        body = json.dumps({"password": appdata.account.password.reveal()}).encode()
        status, answer = self._ask("unlock", "POST", "/unlock", body)
        said = self._new_stderr()
        if status == _INTERNAL and failures.is_backfill(said):
            status, answer = self._ask("unlock", "POST", "/unlock", body)
            said = self._new_stderr()
        good = status == _OK and _success(answer) is not None
        if said or not good:  # a good answer says nothing about what went wrong
            raise failures.failure("unlock", said + (b"" if good else answer[:_ERROR_BYTES]))

    def lists(self, wanted: str, *, items: bool) -> Lists:
        """Return the lists; the organisation's id comes from bw's own answer, checked."""
        organizations = self._list("organizations", "")
        only = f"?organizationid={organization(organizations, wanted)['id']}"
        collections = self._list("collections", only)
        found = self._list("items", only) if items else None
        return Lists(organizations, collections, found, complained=self._complained("items"))

    def _list(self, kind: str, query: str) -> Any:
        step = f"list {kind}"
        status, answer = self._ask(step, "GET", f"/list/object/{kind}{query}", b"")
        document = _success(answer) if status == _OK else None
        if document is None:
            raise failures.failure(step, self._new_stderr() + answer[:_ERROR_BYTES])
        data = document.get("data")
        found = data.get("data") if isinstance(data, dict) else None
        if not isinstance(found, list):  # None would be taken for a list that was not asked for
            raise ColibriError("source_incomplete", f"{step}: bw gave no whole list")
        return found

    def _complained(self, kind: str) -> bool:
        return failures.complained(f"list {kind}", self._new_stderr())

    def _new_stderr(self) -> bytes:
        said = self._child.stderr[self._judged :]
        self._judged += len(said)
        return said

    def _ask(self, step: str, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        give_up = time.monotonic() + self._options.timeout_seconds
        head = f"{method} {path} HTTP/1.1\r\nHost: {_HOST}\r\nContent-Length: {len(body)}\r\n"
        if body:
            head += "Content-Type: application/json\r\n"
        try:
            self._socket.sendall(head.encode("ascii") + b"\r\n" + body)
            wire = cast("socket.socket", _Wire(self._socket, self._child, give_up))
            response = http.client.HTTPResponse(wire, method=method)
            response.begin()
            answer = response.read(self._options.max_output_bytes + 1)
        except ColibriError as error:
            if error.code == "helper_timeout":
                raise timed_out(step, self._options) from None
            raise
        except (OSError, http.client.HTTPException):
            raise self._ended(step) from None
        if len(answer) > self._options.max_output_bytes:
            raise ColibriError(
                "source_incomplete",
                f"{step}: bw answered with more than {self._options.max_output_bytes} bytes",
                hint="raise the setting bw_max_output_bytes, if the organisation is that large",
            )
        return response.status, answer

    def _ended(self, step: str) -> ColibriError:
        said = self._new_stderr()
        if said:
            return failures.failure(step, said)
        return ColibriError("source_incomplete", f"{step}: bw ended before it answered")


def _success(answer: bytes) -> dict[str, Any] | None:
    document = parsed(answer)
    good = isinstance(document, dict) and document.get("success") is True
    return document if good else None


class _Wire(io.RawIOBase):
    """The socket as http.client wants it: each read waits for the child, its death, or time."""

    def __init__(self, ours: socket.socket, child: proc.Background, give_up: float) -> None:
        super().__init__()
        self._socket = ours
        self._child = child
        self._give_up = give_up

    def makefile(self, mode: str, buffering: int | None = None) -> io.BufferedReader:
        """Return a reader over this, once: http.client asks for one per answer."""
        del mode, buffering
        return io.BufferedReader(self, 65_536)

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        if not self._child.wait_readable(self._socket.fileno(), self._give_up):
            return 0
        return self._socket.recv_into(into)
