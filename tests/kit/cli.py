"""The command line for tests: in this process, which is quick, or installed, which is real.

`Cli(state_dir).run("provision", "acme", "--json")` gives a Result. Nothing of this process's
environment reaches the command but what `environment` has.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

INSTALLED = Path(sys.executable).with_name("colibri")
_LINE = re.compile(r"colibri: (?P<code>[a-z_]+): (?P<message>.+?)(?: \(hint: (?P<hint>.+)\))?\n?")


@dataclass(frozen=True, slots=True)
class Result:
    """How one run ended and what it said."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: str

    @property
    def json(self) -> Any:
        """The one document on stdout; fails when there is none, or more."""
        return json.loads(self.stdout)

    @property
    def text(self) -> str:
        return self.stdout.decode()

    @property
    def error(self) -> Mapping[str, str]:
        """Code, message and hint of the one line on stderr; fails when it is no such line."""
        found = _LINE.fullmatch(self.stderr)
        assert found, f"{self.argv}: not one error line: {self.stderr!r}"
        return found.groupdict("")

    def must(self) -> Result:
        """Return this if it went well; fail with what it said if not."""
        assert self.status == 0, f"{self.argv} ended with {self.status}: {self.stderr}"
        return self


@dataclass
class Cli:
    """A colibri of its own in `home`: state in `home/state`, no settings file."""

    home: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        return self.home / "state"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{INSTALLED.parent}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "COLIBRI_CONFIG": str(self.config),
            "COLIBRI_DAEMON_DATA_DIR": str(self.state),
            "COLIBRI_HOST": "h1",
            **self.settings,
        }

    @property
    def config(self) -> Path:
        """An empty settings file, so that none of this host's is read."""
        path = self.home / "colibri.toml"
        if not path.exists():
            path.write_text("")
        return path

    def run(self, *argv: str, stdin: bytes = b"") -> Result:
        """Run in this process: main(), with its own argv, environment and streams."""
        from cli.app import main

        with _streams(argv, stdin, self.environment) as (out, err):
            try:
                main()
                status: Any = 0
            except SystemExit as end:
                status = end.code
        return Result(argv, int(status or 0), out.getvalue(), err.getvalue().decode())

    def must(self, *argv: str, stdin: bytes = b"") -> Result:
        """Run and insist on status 0."""
        return self.run(*argv, stdin=stdin).must()

    def process(self, *argv: str, stdin: bytes = b"", seconds: float = 60) -> Result:
        """Run the installed command in a process of its own."""
        done = subprocess.run(
            [str(INSTALLED), *argv],
            input=stdin,
            capture_output=True,
            env=self.environment,
            cwd=self.home,
            timeout=seconds,
            check=False,
        )
        return Result(argv, done.returncode, done.stdout, done.stderr.decode())

    @contextmanager
    def serving(self) -> Iterator[subprocess.Popen[bytes]]:
        """Have `colibri hook serve` there for the block."""
        line = [str(INSTALLED), "hook", "serve"]
        with subprocess.Popen(
            line, env=self.environment, cwd=self.home, stderr=subprocess.PIPE
        ) as service:
            assert service.stderr
            try:
                said = service.stderr.readline()
                assert b"hooks are served" in said, said
                yield service
            finally:
                service.terminate()

    def ready(self) -> Cli:
        """Initialise and return this."""
        self.must("init")
        return self

    def tenant(
        self, tenant: str = "acme", *, env_path: str = "/home/app/.env", **values: str
    ) -> Path:
        """Fill a collection, make a jail, register; return the delivered file's host path."""
        for name, value in (values or {"API_KEY": "sk-live-0123456789"}).items():
            self.must("secret", "set", tenant, name, stdin=value.encode())
        self.register(tenant, env_path=env_path)
        return self.jail_root(tenant) / env_path.lstrip("/")

    def register(self, tenant: str, *options: str, env_path: str = "/home/app/.env") -> Result:
        """Register a tenant with a new directory jail; works as any user."""
        scratch = ("--create-jail", "--tier", "scratch", "--env-path", env_path)
        return self.must("register-tenant", tenant, *scratch, *options)

    def jail_root(self, jail: str) -> Path:
        """Where the directory jail lies; `jail list` would need a registry that tests break."""
        base = self.settings.get("COLIBRI_JAIL_ROOT_BASE", f"{self.state}/jails")
        return Path(base.partition(":")[0]) / jail / "root"


@contextmanager
def _streams(
    argv: tuple[str, ...], stdin: bytes, environment: Mapping[str, str]
) -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    out, err = io.BytesIO(), io.BytesIO()
    before = sys.argv, sys.stdin, sys.stdout, sys.stderr, dict(os.environ)
    with tempfile.TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        sys.argv = ["colibri", *argv]
        sys.stdin = io.TextIOWrapper(given)
        sys.stdout = io.TextIOWrapper(out, encoding="utf-8", write_through=True)
        sys.stderr = io.TextIOWrapper(err, encoding="utf-8", write_through=True)
        os.environ.clear()
        os.environ.update(environment)
        streams = sys.stdin, sys.stdout, sys.stderr  # kept: closing them would close the buffers
        try:
            yield out, err
        finally:
            sys.argv, sys.stdin, sys.stdout, sys.stderr, kept = before
            os.environ.clear()
            os.environ.update(kept)
            for stream in streams[1:]:
                stream.detach()
