"""Many tenants: provision --all with everything changed and nothing changed.

The baseline is a bare loop over the same files: write, fsync, rename, directory fsync.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Self
from unittest import mock

from tests.bench.measure import COLIBRI, child
from vault_svc.adapters.registry import sqlite_file
from vault_svc.adapters.sources.documents import Document, Secret
from vault_svc.config import load
from vault_svc.domain.receipt import Owner
from vault_svc.domain.secret import SecretValue
from vault_svc.services.registration import Registration
from vault_svc.wiring import Services

COPY = ".bare-env"
SET_AT = "2026-11-21T00:00:00.000Z"


@contextlib.contextmanager
def unsynced() -> Iterator[None]:
    """Do what is not measured without waiting for the disk; all of it is there at the end."""

    usual = sqlite_file.connection

    def no_wait(path: str, journal: str, busy_timeout_seconds: float) -> sqlite3.Connection:
        made = usual(path, journal, busy_timeout_seconds)
        made.execute("PRAGMA synchronous = OFF")
        return made

    try:
        with (
            mock.patch.object(sqlite_file, "connection", no_wait),
            mock.patch.multiple(os, fsync=lambda _: None, fdatasync=lambda _: None),
        ):
            yield
    finally:
        os.sync()


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
        self.names = [f"t{number:05}" for number in range(tenants)]
        self.count = tenants
        self._ids = {name: str(uuid.uuid4()) for name in self.names}
        self._revision = 0

    def __enter__(self) -> Self:
        started = time.monotonic()
        with unsynced():
            services = Services(load(self.environ))
            services.initialise()
            self.write("first")
            owner = Owner(1000, 1000) if os.geteuid() == 0 else None
            for name in self.names:
                asked = Registration(name, tier="scratch", owner=owner, create_jail=True)
                services.registrar.register(asked)
            services._registry.dispose()
        print(f"{self.count} tenants made in {time.monotonic() - started:.0f} s (not measured)")
        return self

    def __exit__(self, *exc: object) -> None:
        shutil.rmtree(self.state)

    def write(self, value: str) -> None:
        """Give every collection five new values, through the store and under its lock."""
        self._revision += 1
        with unsynced():
            store = Services(load(self.environ))._embedded.store
            with store.writing() as parent:
                for name in self.names:
                    store.store(parent, name, self._document(name, value))

    def _document(self, name: str, value: str) -> Document:
        texts = {f"KEY_{i}": f"{value}-{name}-{i}-{'x' * 32}" for i in range(5)}
        secrets = {key: Secret(SecretValue(text), SET_AT) for key, text in texts.items()}
        return Document(self._ids[name], self._revision, secrets)

    def files(self) -> list[Path]:
        return sorted(self.state.glob("jails/*/root/.env"))


def bare_loop(files: list[Path]) -> float:
    """Return seconds for the least any durable writer does for the same files.

    Like colibri it replaces files that are there: copies beside them, left for the next time. A
    file system may take longer to make an inode the more of them were deleted just before.
    """
    contents = [(file, file.read_bytes()) for file in files]
    for file, content in contents:
        if not (copy := file.with_name(COPY)).exists():
            copy.write_bytes(content)
    os.sync()
    started = time.monotonic()
    for file, content in contents:
        temporary = file.with_name(".bare")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(fd, content)
        os.fsync(fd)
        os.close(fd)
        os.rename(temporary, file.with_name(COPY))
        directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
        os.fsync(directory)
        os.close(directory)
    return time.monotonic() - started


def report(fleet: Fleet) -> None:
    provision = (COLIBRI, "provision", "--all", "--json")
    _run("first delivery", provision, fleet)
    ratios = [_changed(fleet, provision, value) for value in ("second", "third", "fourth")]
    each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"{'changed / bare, median':<31} ratio {median(ratios):5.2f}  (goal 2.0), of {each}")
    _run("nothing changed", provision, fleet)
    _run("verify --all", (COLIBRI, "verify", "--all", "--json"), fleet)


def _changed(fleet: Fleet, provision: tuple[str, ...], value: str) -> float:
    """Return how many times the bare loop's seconds a delivery takes, the loop right beside it."""
    fleet.write(value)
    before = bare_loop(fleet.files())
    changed = _run("everything changed", provision, fleet)
    after = bare_loop(fleet.files())
    bare = (before + after) / 2
    per = bare / fleet.count * 1000
    print(f"{'bare loop, before and after':<31} {before:7.2f} s {after:7.2f} s  {per:.3f} ms each")
    return changed / bare


def _run(name: str, argv: tuple[str, ...], fleet: Fleet) -> float:
    ran = child(argv, fleet.environ)
    if ran.status:
        raise SystemExit(f"{name}: exit status {ran.status}")
    each, cpu = (seconds / fleet.count * 1000 for seconds in (ran.wall, ran.cpu))
    told = f"{each:.3f} ms a tenant, processor {cpu:.3f} ms, peak {ran.peak:.0f} MiB"
    print(f"{name:<31} {ran.wall:7.2f} s  {told}")
    return ran.wall
