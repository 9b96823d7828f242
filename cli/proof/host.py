"""Runs the installed command and the proof's own processes: clean environment, limits, an end.

Part of the proof, not of the product: subprocess is used directly, because these are the clients
and the attackers. Every child leads a group of its own, and no group outlives the proof.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cli.proof.ending import Ending
from cli.proof.outcome import FailedError

LONGEST_SECONDS: Final = 60.0
HERE: Final = Path(__file__).resolve().parent
Child = subprocess.Popen[bytes]


def installed() -> Path:
    """Return the console script that stands beside this interpreter."""
    return Path(sys.executable).parent / "colibri"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one run of the command came to; document is empty where stdout was no JSON."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: str
    elapsed_ms: float

    @property
    def document(self) -> Mapping[str, Any]:
        """The JSON document on stdout."""
        try:
            found = json.loads(self.stdout)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def code(self) -> str:
        """The error code of the line on stderr, empty if there was none."""
        return self.said.partition(":")[0] if self.status else ""

    @property
    def said(self) -> str:
        """The last line on stderr without `colibri: `."""
        lines = self.stderr.strip().splitlines()
        return lines[-1].removeprefix("colibri: ") if lines else ""

    def shown(self) -> str:
        """Return command and end in one line."""
        ended = f"killed by signal {-self.status}" if self.status < 0 else f"status {self.status}"
        return f"colibri {' '.join(self.argv)}: {ended}" + (f", {self.said}" if self.said else "")


class Host:
    """The operator's hands: one method per kind of process."""

    def __init__(
        self, command: Path, home: Path, settings: Mapping[str, str], ending: Ending
    ) -> None:
        """Take the command, a home directory for it and its settings (`COLIBRI_*`)."""
        self._ending = ending
        self.command = command
        self.environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(home),
            "LANG": "C.UTF-8",
            **settings,
        }
        self._home = home
        self._children: list[Child] = []
        self._canaries: set[bytes] = set()

    def watch_for(self, values: Collection[str]) -> None:
        """Fail any later run that prints one of values."""
        self._canaries |= {value.encode() for value in values if value}

    def run(self, *argv: str, stdin: bytes = b"", expect: Collection[int] = (0,)) -> Answer:
        """Run `colibri ARGV` in a process of its own; raise FailedError for another end."""
        started = time.monotonic()
        status, stdout, stderr = self._finish(self.start([str(self.command), *argv]), stdin)
        elapsed = (time.monotonic() - started) * 1000
        answer = Answer(argv, status, stdout, stderr.decode(errors="replace"), elapsed)
        return self.checked(answer, expect)

    def checked(self, answer: Answer, expect: Collection[int] = (0,)) -> Answer:
        """Return the answer; raise FailedError for another end, or for a value in what it said."""
        said = answer.stdout + answer.stderr.encode()
        if any(value in said for value in self._canaries):
            raise FailedError(f"colibri {' '.join(answer.argv)} printed a secret value")
        if expect and answer.status not in expect:
            wanted = " or ".join(str(status) for status in expect)
            raise FailedError(f"{answer.shown()} (status {wanted} was expected)")
        return answer

    def script(self, name: str, job: object, *, seconds: float = LONGEST_SECONDS) -> Any:
        """Run a script of this folder with a JSON job; return its JSON answer."""
        child = self.start([sys.executable, "-I", str(HERE / name)])
        return self._answer(name, child, json.dumps(job).encode(), seconds)

    def start_inside(self, name: str, root: Path, owner: tuple[int, int], *rest: str) -> Child:
        """Start a script of this folder inside a jail, as owner."""
        inside, script = str(HERE / "inside.py"), str(HERE / name)
        numbers = (str(number) for number in owner)
        return self.start([sys.executable, "-I", inside, script, str(root), *numbers, *rest])

    def finish_inside(self, name: str, child: Child) -> Any:
        """Close the child's stdin, wait, and return its JSON answer."""
        return self._answer(name, child, b"", LONGEST_SECONDS)

    def output(self, argv: Sequence[str]) -> bytes:
        """Run a foreign program; return its stdout, raise FailedError unless it ends well."""
        status, stdout, stderr = self._finish(self.start(argv), b"")
        if status:
            said = stderr.decode(errors="replace").strip()
            raise FailedError(f"{Path(argv[0]).name} ended with status {status}: {said[-200:]}")
        return stdout

    def start(self, argv: Sequence[str]) -> Child:
        """Start a program in a session of its own, with our environment only."""
        with self._ending.held():
            child = subprocess.Popen(
                list(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self.environment,
                cwd=self._home,
                bufsize=0,
                start_new_session=True,
            )
            self._children.append(child)
        return child

    def stop(self) -> None:
        """Kill every child that is still there, with its group."""
        for child in self._children:
            if child.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()

    def _answer(self, name: str, child: Child, stdin: bytes, seconds: float) -> Any:
        status, stdout, stderr = self._finish(child, stdin, seconds)
        try:
            return json.loads(stdout.removeprefix(b"ready\n"))
        except ValueError:
            said = stderr.decode(errors="replace").strip().splitlines()
            why = said[-1] if said else "it said nothing"
            raise FailedError(f"{name} ended with status {status}: {why}") from None

    def _finish(
        self, child: Child, stdin: bytes, seconds: float = LONGEST_SECONDS
    ) -> tuple[int, bytes, bytes]:
        try:
            stdout, stderr = child.communicate(stdin, timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            raise FailedError(f"a process did not end within {seconds:.0f} s") from None
        self._children.remove(child)
        return child.returncode, stdout, stderr
