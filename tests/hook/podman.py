"""A podman that calls the hook: by its hooks.d file, nobody else delivers."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.kit import engines
from tests.kit.cli import Cli

VALUE = "sk-live-0123456789"


@dataclass
class Podman:
    """A podman of its own with the hook installed, and a colibri that knows it."""

    top: Path
    cli: Cli

    @property
    def hooks(self) -> Path:
        return self.top / "hooks.d"

    def __call__(self, *argv: str, seconds: float = 90) -> subprocess.CompletedProcess[str]:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.top),
            "CONTAINERS_CONF": str(self.top / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.top / "storage.conf"),
        }
        return subprocess.run(
            ["podman", "--log-level=error", f"--hooks-dir={self.hooks}", *argv],
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def container(self, *command: str, options: tuple[str, ...] = (), jail: str = "acme") -> None:
        """Make a container whose agent is command, and register its tenant."""
        mark = f"--annotation=colibri.jail={jail}"
        line = ["create", "--name=acme", mark, "--user=1000:1000", *options, engines.IMAGE]
        made = self(*line, *command)
        assert made.returncode == 0, made.stderr
        self.cli.must("secret", "set", "acme", "API_KEY", stdin=VALUE.encode())
        self.cli.must("register-tenant", "acme", "--engine=podman", "--env-path=/home/app/.env")

    def start(self) -> subprocess.CompletedProcess[str]:
        return self("start", "--attach", "acme")


@contextlib.contextmanager
def hooked(home: Path) -> Iterator[Podman]:
    """Make both in a fresh directory; skip where podman cannot be used."""
    top = home / "podman"
    top.mkdir(mode=0o711)
    home.chmod(0o711)
    with engines.podman(top) as place:
        settings = {
            "COLIBRI_JAIL_ROOT_BASE": f"{home}/state/jails:{place.base}",
            "COLIBRI_PODMAN_CONTAINERS_CONF": str(top / "containers.conf"),
            "COLIBRI_PODMAN_STORAGE_CONF": str(top / "storage.conf"),
        }
        made = Podman(top, Cli(home, settings).ready())
        made.cli.must("hook", "install", "podman", "--directory", str(made.hooks))
        yield made
