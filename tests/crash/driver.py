"""Drives a warm colibri: runs commands in one state directory, under strace where asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.crash import tracing
from tests.crash.tracing import Call

ROOT = Path(__file__).resolve().parents[2]
COLIBRI = Path(sys.executable).with_name("colibri")


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended: exit status, or minus the signal; what it said."""

    status: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """Return the JSON document on stdout."""
        return json.loads(self.stdout)


class Colibri:
    """One warm server; `flaw` sabotages the product in it."""

    def __init__(self, scratch: Path, flaw: str = "") -> None:
        self._scratch = scratch
        self._env: dict[str, str] = {}
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.server", *filter(None, [flaw])],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._reply() == {"ready": True}

    def use(self, state: Path, **settings: str) -> None:
        """Run what follows on this state directory."""
        self._env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._scratch),
            "COLIBRI_DAEMON_DATA_DIR": str(state),
            "COLIBRI_HOST": "crash",
            **{f"COLIBRI_{name.upper()}": value for name, value in settings.items()},
        }

    def close(self) -> None:
        """End the server."""
        self._server.stdin.close()
        self._server.wait(30)
        self._server.stdout.close()

    def run(self, *argv: str, stdin: str = "", strace: list | None = None) -> Ran:
        """Run one command to its end."""
        status = self._ask([self._step(0, argv, stdin)], strace)
        return Ran(status, *self._said(0))

    def run_all(self, *commands: tuple[str, ...], stdin: str = "") -> list[Ran]:
        """Run two or more commands in one process, whatever they answer; stdin is the first's."""
        steps = [self._step(i, c, "" if i else stdin) for i, c in enumerate(commands)]
        status = self._ask(steps, None)
        assert status == 0, f"the process ended with {status}: {self._said(0)}"
        statuses = (int(Path(step["status"]).read_text()) for step in steps)
        return [Ran(status, *self._said(i)) for i, status in enumerate(statuses)]

    def _step(self, number: int, argv: Sequence[str], stdin: str) -> dict[str, Any]:
        names = ("stdin", "stdout", "stderr", "status")
        files = {name: self._scratch / f"{name}.{number}" for name in names}
        for name, path in files.items():
            path.write_text(stdin if name == "stdin" else "")
        return {"argv": list(argv), **{name: str(path) for name, path in files.items()}}

    def _said(self, number: int) -> tuple[str, str]:
        out, err = (self._scratch / f"{name}.{number}" for name in ("stdout", "stderr"))
        return out.read_text(), err.read_text()

    def _ask(self, steps: list[dict[str, Any]], strace: list | None) -> int:
        asked = {"commands": steps, "env": self._env, "strace": strace}
        self._server.stdin.write(json.dumps(asked).encode() + b"\n")
        self._server.stdin.flush()
        reply = self._reply()
        assert "fault" not in reply, reply["fault"]
        return int(reply["status"])

    def must(self, *argv: str, stdin: str = "") -> Ran:
        """Run a command that has to succeed."""
        ran = self.run(*argv, stdin=stdin)
        assert ran.status == 0, (argv, ran)
        return ran

    def traced(
        self,
        *argv: str,
        stdin: str = "",
        every: bool = False,
        kill_at: Call | None = None,
        paths: bool = False,
    ) -> tuple[Ran, list[Call]]:
        """Run a command under strace, killed at the entry of one call if asked for."""
        out = self._scratch / "trace"
        out.unlink(missing_ok=True)
        strace = tracing.command(out, every=every, kill_at=kill_at, paths=paths)
        ran = self.run(*argv, stdin=stdin, strace=strace)
        return ran, tracing.read(out)

    def _reply(self) -> dict[str, Any]:
        line = self._server.stdout.readline()
        assert line, "the server is gone"
        return dict(json.loads(line))


class Installed(Colibri):
    """The same over the installed command: a process from its very start for each run."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._env: dict[str, str] = {}

    def close(self) -> None:
        """Nothing runs on."""

    def _ask(self, steps: list[dict[str, Any]], strace: list | None) -> int:
        status = 0
        for step in steps:
            with (
                Path(step["stdin"]).open() as stdin,
                Path(step["stdout"]).open("w") as stdout,
                Path(step["stderr"]).open("w") as stderr,
            ):
                argv = [*(strace or ()), sys.executable, "-B", str(COLIBRI), *step["argv"]]
                env = self._env | {"PYTHONHASHSEED": "0"}
                done = subprocess.run(
                    argv,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    env=env,
                    timeout=60,
                    check=False,
                )
            Path(step["status"]).write_text(str(done.returncode))
            status = done.returncode
        return status if len(steps) == 1 else 0
