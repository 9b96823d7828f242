"""Every jail engine this host can run, each in a place of its own, for one suite against all.

Root file systems are made here, of busybox: nothing is pulled.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit import bastille as stand_ins
from vault_svc.adapters.delivery import ConfinedDelivery
from vault_svc.adapters.jails import bastille as freebsd
from vault_svc.adapters.jails import nspawn as machines
from vault_svc.adapters.jails import plugins
from vault_svc.adapters.jails.bubblewrap import BubblewrapEngine
from vault_svc.adapters.jails.directory import DirectoryEngine
from vault_svc.adapters.jails.podman import Options, PodmanEngine
from vault_svc.adapters.jails.programs import SYSTEM
from vault_svc.domain.receipt import Owner
from vault_svc.ports.delivery import JailRoot
from vault_svc.ports.jail_engine import JailEngine

ROOT = os.geteuid() == 0
OWNER = Owner(1000, 1000) if ROOT else Owner(os.geteuid(), os.getegid())
BUSYBOX = Path("/bin/busybox")
APPLETS = (
    "sh cat id ls sleep true env mount umount echo kill mkdir rmdir rm mv ln touch chown chmod"
    " mkfifo mknod stat dd sync chroot test setsid"
)
DIRECTORIES = ["bin", "usr/bin", "etc", "proc", "dev", "sys", "tmp", "run", "var", "home/app"]
IDLE = ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done"]
"""What a jail's first process does: nothing, and it ends when asked to, as an agent should."""

EXAMPLE = Path(__file__).resolve().parents[2] / "examples/chroot_engine.py"
IMAGE = "localhost/colibri-test:base"


@dataclass
class Place:
    """An engine, the directory its roots lie below, and the names that are taken in both."""

    engine: JailEngine
    base: Path
    top: Path

    def delivery(self, walk: str = "auto") -> ConfinedDelivery:
        return ConfinedDelivery([str(self.base)], state_dir=str(self.top / "state"), walk=walk)

    def root(self, name: str) -> JailRoot:
        """The jail's root as the services hand it to a delivery."""
        shifts = self.engine.capabilities.user_namespace
        return JailRoot(self.engine.root_of(name), pid=self.engine.pid_of(name), shifts=shifts)


def furnish(root: Path, owner: Owner) -> Path:
    """Make a small root file system for jails of engines that have none of their own."""
    for name in DIRECTORIES:
        (root / name).mkdir(parents=True, exist_ok=True, mode=0o755)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for name in APPLETS.split():
        (root / "bin" / name).symlink_to("busybox")
    (root / "usr/bin/env").symlink_to("/bin/busybox")
    (root / "tmp").chmod(0o1777)
    os.chown(root / "home/app", owner.uid, owner.gid)
    (root / "home/app").chmod(0o700)
    return root


@functools.cache
def static_busybox() -> bool:
    if not BUSYBOX.exists():
        return False
    ran = subprocess.run(["ldd", str(BUSYBOX)], capture_output=True, check=False)
    return b"not a dynamic" in ran.stdout + ran.stderr


@contextlib.contextmanager
def trees(kind: Callable[[list[str]], JailEngine], top: Path) -> Iterator[Place]:
    yield Place(kind([str(top / "jails")]), top / "jails", top)


@contextlib.contextmanager
def podman(top: Path, *, containers: str = "") -> Iterator[Place]:
    """A rootful podman with storage of its own; no network, limits that need no capability."""
    if not ROOT:
        pytest.skip("podman: an ordinary user's is another one, see rootless")
    if not shutil.which("podman") or not static_busybox():
        pytest.skip("podman: it or busybox-static is not installed")
    conf, storage = top / "containers.conf", top / "storage.conf"
    conf.write_text(
        '[containers]\nnetns = "none"\nlog_driver = "none"\n'
        f"{containers}"
        'default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n'
        '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\nruntime = "runc"\n'
        f'tmp_dir = "{top}/tmp"\nvolume_path = "{top}/volumes"\n'
    )
    storage.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{top}/graph"\nrunroot = "{top}/run"\n'
    )
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(top),
        "CONTAINERS_CONF": str(conf),
        "CONTAINERS_STORAGE_CONF": str(storage),
    }

    def call(*argv: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        line = ["podman", "--log-level=error", *argv]
        return subprocess.run(line, input=stdin, env=env, capture_output=True, check=False)

    try:
        made = call("import", f"--change=CMD {json.dumps(IDLE)}", "-", IMAGE, stdin=image())
        if made.returncode:
            pytest.skip(f"podman: it cannot be used here: {made.stderr.decode()[-200:]}")
        yield Place(PodmanEngine(Options(IMAGE, str(conf), str(storage))), top / "graph", top)
    finally:
        call("rm", "--all", "--force", "--time=0")
        for mount in ("graph/overlay", "graph"):
            subprocess.run(["umount", str(top / mount)], capture_output=True, check=False)


@contextlib.contextmanager
def nspawn(top: Path, *, settings: str = "PrivateUsers=pick\n") -> Iterator[Place]:
    """Machines of the nest's own machined; never of a host's, where they would be real ones."""
    template = furnish(top / "template", OWNER)
    idle = " ".join(json.dumps(word) for word in IDLE)
    (top / "template.nspawn").write_text(
        f"[Exec]\nBoot=no\nParameters={idle}\n{settings}"
        "[Network]\nPrivate=yes\nVirtualEthernet=no\n"
    )
    engine = machines.NspawnEngine(machines.Options(str(template)))
    yield Place(engine, Path("/var/lib/machines"), top)


@contextlib.contextmanager
def bastille(top: Path, *, kind: str = "thin") -> Iterator[Place]:
    """The stand-ins of tests/kit/bastille: the engine's own code, and FreeBSD's not at all."""
    if not ROOT:
        pytest.skip("bastille: only root has its jails")
    if not static_busybox():
        pytest.skip("bastille: its stand-ins need busybox-static")
    release = furnish(top / "release", OWNER)
    programs, jails = stand_ins.install(top, release)
    options = freebsd.Options(str(jails), stand_ins.RELEASE, kind, timeout_seconds=20)
    engine = freebsd.BastilleEngine(options, path=f"{programs}:{SYSTEM}")
    yield Place(engine, jails, top)


@contextlib.contextmanager
def own(top: Path) -> Iterator[Place]:
    """The engine of examples/, installed as an operator would, and found by its entry point."""
    if not ROOT:
        pytest.skip("own: the example needs root")
    site = top / "site"
    (site / "own-1.dist-info").mkdir(parents=True)
    (site / "own-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: own\nVersion: 1\n")
    points = "[colibri.jail_engines]\nchroot = chroot_engine:ChrootEngine\n"
    (site / "own-1.dist-info/entry_points.txt").write_text(points)
    shutil.copy(EXAMPLE, site)
    template = furnish(top / "template", OWNER)
    sys.path.insert(0, str(site))
    try:
        engine = plugins.load(plugins.found(())["chroot"], [str(top / "jails")])
        sys.modules["chroot_engine"].TEMPLATE = str(template)
        yield Place(engine, top / "jails", top)
    finally:
        sys.path.remove(str(site))
        sys.modules.pop("chroot_engine", None)


@functools.cache
def image() -> bytes:
    """Return a tar archive of a small root file system whose owner is OWNER."""
    import tempfile

    with tempfile.TemporaryDirectory() as made:
        root = furnish(Path(made, "root"), OWNER)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.add(root, arcname=".")
        return packed.getvalue()


ENGINES: dict[str, Callable[[Path], contextlib.AbstractContextManager[Place]]] = {
    "directory": functools.partial(trees, DirectoryEngine),
    "bubblewrap": functools.partial(trees, BubblewrapEngine),
    "podman": podman,
    "bastille": bastille,
    "chroot": own,
}
if os.environ.get("COLIBRI_TEST_NEST"):
    ENGINES = {"nspawn": nspawn}


@contextlib.contextmanager
def place(name: str, top: Path) -> Iterator[Place]:
    """Give the engine of this name in a place of its own, or skip with what it lacks."""
    with ENGINES[name](top) as made:
        why = made.engine.unavailable()
        if why:
            pytest.skip(f"{name}: {why}")
        yield made
