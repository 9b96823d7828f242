"""Many tenants: provision --all with everything changed and nothing changed.

The baseline is a bare loop over the same files: write, fsync, rename, directory fsync.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Self

from tests.bench.measure import COLIBRI, child
from vault_svc.config import load
from vault_svc.domain.receipt import Owner
from vault_svc.domain.secret import SecretValue
from vault_svc.services.tenants import Registration
from vault_svc.wiring import Services


class Fleet:
    """A scratch orchestrator with many tenants, removed at the end."""

    def __init__(self, tenants: int) -> None:
        home = Path("/var/lib" if os.geteuid() == 0 else Path.home())
        self.state = home / f"colibri-bench-{os.getpid()}"
        self.environ = {
            "COLIBRI_DAEMON_DATA_DIR": str(self.state),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
        }
        self.count = tenants
        self.services = Services(load(self.environ))

    def __enter__(self) -> Self:
        started = time.monotonic()
        self.services.initialise()
        for number in range(self.count):
            self._make(f"t{number:05}")
        print(f"{self.count} tenants made in {time.monotonic() - started:.0f} s (not measured)")
        return self

    def __exit__(self, *exc: object) -> None:
        shutil.rmtree(self.state)

    def _make(self, name: str) -> None:
        self.write(name, "first")
        owner = Owner(1000, 1000) if os.geteuid() == 0 else None
        self.services.tenants.register(
            Registration(name, tier="scratch", owner=owner, create_jail=True)
        )

    def write(self, name: str, value: str) -> None:
        values = {f"KEY_{i}": SecretValue(f"{value}-{name}-{i}-{'x' * 32}") for i in range(5)}
        self.services._embedded.change(name, values, create=True)

    def files(self) -> list[Path]:
        return sorted(self.state.glob("jails/*/root/.env"))


def bare_loop(files: list[Path]) -> float:
    """Return seconds for the least any durable writer does for the same files."""
    contents = [(file, file.read_bytes()) for file in files]
    started = time.monotonic()
    for file, content in contents:
        temporary = file.with_name(".bare")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(fd, content)
        os.fsync(fd)
        os.close(fd)
        os.rename(temporary, file.with_name(".bare-env"))
        directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(directory)
        os.close(directory)
    took = time.monotonic() - started
    for file in files:
        file.with_name(".bare-env").unlink()
    return took


def report(fleet: Fleet) -> None:
    provision = (COLIBRI, "provision", "--all", "--json")
    _run("first delivery", provision, fleet, None)
    for number in range(fleet.count):
        fleet.write(f"t{number:05}", "second")
    os.sync()
    before = bare_loop(fleet.files())
    changed = _run("everything changed", provision, fleet, before)
    after = bare_loop(fleet.files())
    bare = (before + after) / 2
    per = bare / fleet.count * 1000
    print(f"{'bare loop, before and after':<31} {before:7.2f} s {after:7.2f} s  {per:.3f} ms each")
    print(f"{'changed / bare':<31} ratio {changed / bare:5.2f}  (goal 2.0)")
    _run("nothing changed", provision, fleet, None)
    _run("verify --all", (COLIBRI, "verify", "--all", "--json"), fleet, None)


def _run(name: str, argv: tuple[str, ...], fleet: Fleet, bare: float | None) -> float:
    took, peak, status = child(argv, fleet.environ)
    if status:
        raise SystemExit(f"{name}: exit status {status}")
    each = took / fleet.count * 1000
    print(f"{name:<31} {took:7.2f} s  {each:.3f} ms a tenant, peak {peak:.0f} MiB")
    return took
