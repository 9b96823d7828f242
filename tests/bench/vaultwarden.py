"""A thousand tenants of one Vaultwarden organisation, by the real bw, beside the naive ways.

Baselines: (a) `bw unlock`, `sync`, `list items --collectionid`, `lock` for each tenant, measured
on a few and scaled; (b) `bw serve`, asked the same four things for each tenant.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self
from unittest import mock

from tests.bench import fleet
from tests.bench.measure import COLIBRI, children, high_water, together
from tests.kit import bw
from tests.kit.bw_client import Client
from tests.kit.vaultwarden import Double, Kdf
from tests.vaultwarden import place
from vault_svc.adapters.credentials.store import UriCredentials
from vault_svc.adapters.sources.vaultwarden.source import VaultwardenSource
from vault_svc.config import load
from vault_svc.domain.receipt import Owner
from vault_svc.domain.secret import CollectionRef
from vault_svc.services.registration import Registration
from vault_svc.wiring import Services

ITEMS = 5
FEW = 10
_REAL_KDF = Kdf(0, 600_000)  # what Vaultwarden sets for a new account
_TICK = 0.02
_LOOK = 10


class Organisation:
    """A double with one collection per tenant, a login that is stored, and the tenants' rows."""

    def __init__(self, tenants: int) -> None:
        home = Path("/var/lib" if os.geteuid() == 0 else Path.home())
        self.state = home / f"colibri-bench-bw-{os.getpid()}"
        self.work = Path(tempfile.mkdtemp(prefix="colibri-bench-bw-"))
        self.environ = {
            "COLIBRI_DAEMON_DATA_DIR": str(self.state),
            "COLIBRI_CONFIG": os.devnull,
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
        }
        self.bw = bw.installed()
        self.double = Double(self.work, kdf=_REAL_KDF)
        self.refs = [self._fill(f"t{number:05}") for number in range(tenants)]
        self.services = Services(load(self.environ))

    def __enter__(self) -> Self:
        self.services.initialise()
        blob = place.account(self.bw, self.double).blob()
        UriCredentials().put(f"file:{self.state}/credentials/vaultwarden", blob)
        for ref in self.refs:
            self._register(ref)
        return self

    def __exit__(self, *exc: object) -> None:
        self.double.close()
        shutil.rmtree(self.state)
        shutil.rmtree(self.work)

    def _fill(self, name: str) -> CollectionRef:
        made = self.double.add_collection(name)
        for number in range(ITEMS):
            self.double.add_login(made, f"KEY_{number}", f"first-{name}-{number}-{'x' * 32}")
        return CollectionRef(made, name)

    def _register(self, ref: CollectionRef) -> None:
        owner = Owner(1000, 1000) if os.geteuid() == 0 else None
        asked = Registration(
            ref.name, source="vaultwarden", tier="scratch", owner=owner, create_jail=True
        )
        # Each registration is a session of its own; a thousand of them are not what is measured.
        with mock.patch.object(VaultwardenSource, "locate", lambda *_: ref):
            self.services.registrar.register(asked)

    def delivered(self) -> list[Path]:
        return sorted(self.state.glob("jails/*/root/.env"))


class Watched:
    """A run of colibri: its wall time, how much of it bw ran, and both peaks of memory."""

    def __init__(self, argv: tuple[str, ...], environ: dict[str, str]) -> None:
        self.peaks: dict[str, float] = {}
        self.in_bw = 0.0
        self._done = threading.Event()
        started = time.monotonic()
        process = subprocess.Popen(argv, env=environ, stdout=subprocess.DEVNULL)
        watcher = threading.Thread(target=self._watch, args=(process.pid,))
        watcher.start()
        self.status = process.wait()
        self.wall = time.monotonic() - started
        self._done.set()
        watcher.join()

    def _watch(self, pid: int) -> None:
        before, ticks = time.monotonic(), 0
        while not self._done.wait(_TICK):
            now, ticks = time.monotonic(), ticks + 1
            parts, bw = _told_apart(pid)
            if bw:
                self.in_bw += now - before
            before = now
            if ticks % _LOOK == 0:  # rarely: the watcher's own work is not free on two cores
                self._note("colibri", together(pid, *parts) if parts else high_water(pid))
                for child in bw:
                    self._note("bw", high_water(child))

    def _note(self, name: str, size: float) -> None:
        self.peaks[name] = max(self.peaks.get(name, 0.0), size)


def _told_apart(pid: int) -> tuple[list[int], list[int]]:
    """Return colibri's children that run colibri itself, and the others."""
    program, parts, others = _program(pid), [], []
    for child in children(pid):
        (parts if _program(child) == program else others).append(child)
    return parts, others


def _program(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def naive(made: Organisation) -> float:
    """Return seconds for one tenant by four bw processes."""
    client = Client(made.bw, made.double, made.work).ready()

    def one(ref: CollectionRef) -> None:
        for said in (
            client.unlock(),
            client.run("sync", BW_SESSION=client.session),
            client.list("items", collectionid=ref.collection_id),
            client.run("lock"),
        ):
            if said.status:
                raise SystemExit(f"the naive loop failed: {said.err}")

    each = _each(made, one)
    shutil.rmtree(client.data)
    return each


def served(made: Organisation) -> float:
    """Return seconds for one tenant by requests to one bw serve."""
    client = Client(made.bw, made.double, made.work)
    client.config()
    client.login()
    with client.serve() as asked:

        def one(ref: CollectionRef) -> None:
            query = f"/list/object/items?collectionid={ref.collection_id}"
            for status, _ in (
                asked.unlock(made.double.password),
                asked.ask("POST", "/sync"),
                asked.ask("GET", query),
                asked.ask("POST", "/lock"),
            ):
                if status != 200:
                    raise SystemExit("bw serve failed")

        each = _each(made, one)
    shutil.rmtree(client.data)
    return each


def _each(made: Organisation, one: Callable[[CollectionRef], None]) -> float:
    started = time.monotonic()
    for ref in made.refs[:FEW]:
        one(ref)
    return (time.monotonic() - started) / FEW


def report(tenants: int = 1000) -> None:
    """Print the figures; end with a status where colibri failed."""
    with Organisation(tenants) as made:
        print(f"bw {made.bw.version}, {tenants} collections x {ITEMS} items")
        by_bw, by_serve = naive(made), served(made)
        print(f"(a) naive loop, on {FEW:<14} {by_bw * 1000:9.1f} ms a tenant")
        print(f"(b) bw serve, on {FEW:<16} {by_serve * 1000:9.1f} ms a tenant")
        own, in_bw = _run("first delivery", made, by_bw, by_serve)
        files = made.delivered()
        if len(files) != tenants:
            raise SystemExit(f"{len(files)} of {tenants} were delivered")
        bare = fleet.bare_loop(files)
        print(f"{'less a bare durable write':<31} {bare:7.2f} s  ratio {(own - bare) / in_bw:.2f}")
        _run("nothing changed", made, by_bw, by_serve)


def _run(name: str, made: Organisation, by_bw: float, by_serve: float) -> tuple[float, float]:
    ran = Watched((COLIBRI, "provision", "--all", "--json"), made.environ)
    if ran.status:
        raise SystemExit(f"{name}: exit status {ran.status}")
    each, own = ran.wall / len(made.refs), ran.wall - ran.in_bw
    print(
        f"{name:<31} {ran.wall:7.2f} s  {each * 1000:.2f} ms a tenant, in bw {ran.in_bw:.2f} s,"
        f" in colibri {own:.2f} s"
    )
    print(f"{'':<31} (a) / colibri {by_bw / each:8.0f}  (goal 100)   (b) {by_serve / each:8.0f}")
    print(f"{'':<31} colibri / bw  {own / ran.in_bw:8.2f}  (goal 0.20)")
    peaks = ", ".join(f"{who} {size:.0f} MiB" for who, size in sorted(ran.peaks.items()))
    print(f"{'':<31} peak memory: {peaks}")
    return own, ran.in_bw
