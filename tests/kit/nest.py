"""A systemd of our own: this host's files under an overlay, booted in a container of their own.

No root file system is built and nothing of the host is written: what the nest changes is in
memory. It boots in less than a second, as root, where overlays and namespaces are to be had.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit import arena

CHECKOUT = Path(__file__).resolve().parents[2]
INSIDE = "COLIBRI_TEST_NEST"
"""Set to 1 for what runs in the nest: there machined's own directories may be used."""

_TARGET = """[Unit]
Requires=basic.target dbus.service
After=basic.target dbus.service
AllowIsolate=yes
"""
_SYSTEMD = Path("/lib/systemd/systemd")
_BOOT_SECONDS = 30
_MASKED = ("systemd-networkd", "systemd-resolved", "systemd-timesyncd", "systemd-udevd", "podman")


@dataclass(frozen=True)
class Nest:
    """A booted nest; pid is its systemd's, as the host counts."""

    pid: int

    def run(
        self, *argv: str, seconds: float = 60, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command among the nest's processes, as its root."""
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
        line = ["nsenter", f"--target={self.pid}", "--all", "--root", f"--wd=/proc/{self.pid}/root"]
        return subprocess.run(
            [*line, "--", *argv],
            env=env | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def pytest(
        self, *argv: str, seconds: float, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run tests of this checkout in the nest."""
        line = [sys.executable, "-m", "pytest", "-q", "-n0"]
        script = 'cd "$1" && shift && exec "$@"'
        return self.run(
            "/bin/sh", "-c", script, "sh", str(CHECKOUT), *line, *argv,
            seconds=seconds, **environment, **{INSIDE: "1"},
        )  # fmt: skip


def missing() -> str | None:
    """Say what the nest lacks here."""
    for program in ("systemd-nspawn", "machinectl", "nsenter"):
        if not shutil.which(program):
            return f"{program} is not installed"
    return None if _SYSTEMD.exists() else "systemd is not installed"


@contextlib.contextmanager
def booted() -> Iterator[Nest]:
    """Boot a nest for as long as the block runs; skip where that cannot be done."""
    if why := missing():
        pytest.skip(f"nest: {why}")
    with arena.safe_directory() as top, arena.mounted("tmpfs", "tmpfs", top, "mode=755,size=256m"):
        tree = top / "tree"
        for name in ("upper", "work", "tree"):
            (top / name).mkdir()
        options = f"lowerdir=/,upperdir={top}/upper,workdir={top}/work"
        try:
            overlay = arena.mounted("overlay", "overlay", tree, options)
        except OSError as error:
            pytest.skip(f"nest: no overlay: {error}")
        with overlay:
            _prepare(tree)
            with _running(tree) as pid:
                nest = Nest(pid)
                _await(nest)
                yield nest


def _prepare(tree: Path) -> None:
    (tree / "etc/fstab").unlink(missing_ok=True)
    units = tree / "etc/systemd/system"
    (units / "colibri-nest.target").write_text(_TARGET)
    often = units / "systemd-nspawn@.service.d"
    often.mkdir(parents=True, exist_ok=True)
    (often / "often.conf").write_text("[Unit]\nStartLimitIntervalSec=0\n")
    for name in _MASKED:
        for kind in ("service", "socket"):
            masked = units / f"{name}.{kind}"
            masked.unlink(missing_ok=True)
            masked.symlink_to("/dev/null")


@contextlib.contextmanager
def _running(tree: Path) -> Iterator[int]:
    others = {str(CHECKOUT), sys.prefix, sys.base_prefix}
    device = os.stat("/").st_dev
    binds = [f"--bind={path}" for path in sorted(others) if os.stat(path).st_dev != device]
    line = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", f"--directory={tree}"]
    line += ["--machine=nest", "--capability=all", "--private-network", "--console=pipe"]
    line += ["--tmpfs=/var/lib/machines:mode=0700,size=300m", *binds, "--boot"]
    child = subprocess.Popen(
        [*line, "systemd.unit=colibri-nest.target"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    init = None
    try:
        pid = _init_of(child)
        init = os.pidfd_open(pid)
        yield pid
    finally:
        # Its own first, which takes all of it along: it outlives an nspawn that is killed.
        if init is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(init, signal.SIGKILL)
            os.close(init)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        if child.stdout:
            child.stdout.close()


def _init_of(child: subprocess.Popen[bytes]) -> int:
    """Return the number of the nest's systemd; nspawn's first child only prepares its place."""
    end = time.monotonic() + _BOOT_SECONDS
    while time.monotonic() < end and child.poll() is None:
        for name in Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{name}/comm").read_text() == "systemd\n":
                    return int(name)
        time.sleep(0.02)
    said = child.stdout.read().decode(errors="replace") if child.poll() is not None else ""
    pytest.skip(f"nest: it did not boot: {said[-300:]}")


def _await(nest: Nest) -> None:
    end, said = time.monotonic() + _BOOT_SECONDS, ""
    while time.monotonic() < end:
        answer = nest.run("/bin/systemctl", "is-system-running")
        said = answer.stdout.strip() or answer.stderr
        if said in {"running", "degraded"}:
            return
        time.sleep(0.1)
    pytest.skip(f"nest: systemd did not come up: {said}")
