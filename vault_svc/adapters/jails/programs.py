"""An engine's own command line: found where programs of the host are, run bounded, heard once."""

from __future__ import annotations

import json
import os
import pwd
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from vault_svc.errors import ColibriError, printable
from vault_svc.hazmat import proc
from vault_svc.hazmat.proc import Finished

SYSTEM: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MAX_BEGINNING, _MAX_END = 100, 500


@dataclass(frozen=True, slots=True)
class Program:
    """One program of an engine.

    name: as the host has it; package: what to install where it is missing; env: what it is
    given besides PATH and HOME, nothing else of ours; path: where it is looked for.
    """

    name: str
    package: str
    env: Mapping[str, str] = field(default_factory=dict)
    path: str = SYSTEM
    timeout_seconds: float = 60.0

    @property
    def installed(self) -> bool:
        """Whether the host has it."""
        return shutil.which(self.name, path=self.path) is not None

    def located(self) -> str:
        """Return its absolute path; raise `helper_missing`."""
        found = shutil.which(self.name, path=self.path)
        if found is None:
            hint = f"install {self.package}"
            raise ColibriError("helper_missing", f"{self.name} is not installed", hint=hint)
        return found

    @property
    def environment(self) -> dict[str, str]:
        """What it is given: nothing of ours but these."""
        return {"PATH": self.path, "HOME": _home(), **self.env}

    def tried(
        self, *argv: str, timeout_seconds: float | None = None, max_output_bytes: int = 8 << 20
    ) -> Finished:
        """Run it to its end, whatever that is; raise `helper_missing`, `helper_timeout`."""
        return proc.run(
            [self.located(), *argv],
            timeout_seconds=timeout_seconds or self.timeout_seconds,
            env=self.environment,
            max_output_bytes=max_output_bytes,
        )

    def said(self, *argv: str) -> bytes:
        """Run it and return what it printed; raise `engine_failed` with its last words."""
        ran = self.tried(*argv)
        if ran.status != 0:
            raise failed(self.name, ran)
        return ran.stdout

    def document(self, *argv: str) -> Any:
        """Run it and return the JSON it printed; raise `engine_failed`."""
        return parsed(self.name, self.said(*argv))


def failed(name: str, ran: Finished) -> ColibriError:
    """Return the failure of an engine's program: what it said last, escaped and cut."""
    lines = ran.stderr.decode(errors="replace").strip().splitlines()
    said = printable(_shortened(lines[-1])) if lines else f"it ended with {ran.status}"
    return ColibriError("engine_failed", f"{name}: {said}")


def _shortened(line: str) -> str:
    """Cut a long line in its middle: what a runtime or its hook refused stands at the end."""
    if len(line) <= _MAX_BEGINNING + _MAX_END:
        return line
    return f"{line[:_MAX_BEGINNING]} ... {line[-_MAX_END:]}"


def parsed(name: str, printed: bytes) -> Any:
    """Return what an engine's program printed as JSON; raise `engine_failed`."""
    try:
        return json.loads(printed or b"null")
    except (ValueError, RecursionError):
        raise ColibriError("engine_failed", f"{name} printed no JSON") from None


def field_of(whole: Any, name: str, *path: str) -> Any:
    """Return a member of an engine's JSON; raise `engine_failed` for another shape."""
    for step in path:
        if not isinstance(whole, dict) or step not in whole:
            raise ColibriError("engine_failed", f"{name}'s answer has no {'.'.join(path)}")
        whole = whole[step]
    return whole


def items_of(whole: Any, name: str) -> Sequence[Any]:
    """Return an engine's JSON list, null being an empty one; raise `engine_failed`."""
    if whole is None:
        return ()
    if not isinstance(whole, list):
        raise ColibriError("engine_failed", f"{name}'s answer is no list")
    return whole


def _home() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return "/"
