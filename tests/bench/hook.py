"""Jails started all at once, by the engine alone and with the hook: time per jail.

Two engines: podman, and the OCI runtime with nothing around it, which is the hardest measure: a
hook is a program of its own, and that runtime takes about as long as an interpreter's start.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from pathlib import Path
from typing import TypeVar

from _pytest.outcomes import Skipped

from tests.hook.containers import Runtime, furnish, unavailable
from tests.hook.podman import Podman, hooked
from tests.kit import engines
from tests.kit.cli import Cli, Result
from tests.kit.places import private_directory

GOAL = 1.3
T = TypeVar("T")
KINDS = ALONE, HOOKED, SERVED = "alone", "hooked", "served"
"""The engine alone, with the hook, and with the hook beside `colibri hook serve`."""

ENV = "home/app/.env"

PATIENCE = 600
"""Seconds in which a container is given up."""


def report(jails: int) -> None:
    """Print, for each engine, both figures and their ratio."""
    if os.geteuid() != 0:
        print("hook: needs root")
        return
    for measure in (_podman, _runc):
        with private_directory() as home:
            measure(home, jails)


def _podman(home: Path, jails: int) -> None:
    try:
        with hooked(home) as podman:
            _measure_podman(podman, [f"t{number}" for number in range(jails)])
    except Skipped as why:
        print(f"hook: {why}")


def _measure_podman(podman: Podman, names: Sequence[str]) -> None:
    for kind in KINDS:
        for name in names:
            jail = f"{kind}-{name}"
            marks = [] if kind == ALONE else [f"--annotation=colibri.jail={jail}"]
            _must(podman("create", f"--name={jail}", *marks, engines.IMAGE, "/bin/true"))
            if kind != ALONE:
                value = f"value-of-{jail}".encode()
                podman.cli.must("secret", "set", jail, "API_KEY", stdin=value)
                where = ("--engine=podman", "--env-path=/home/app/.env")
                podman.cli.must("register-tenant", jail, *where)

    def start(name: str) -> Result:
        done = podman("start", "--attach", name, seconds=PATIENCE)
        return Result((name,), done.returncode, done.stdout.encode(), done.stderr)

    took = {}
    for kind in KINDS:
        with _serving(podman.cli, kind):
            took[kind] = _at_once(start, [f"{kind}-{name}" for name in names])
    jails = [f"{kind}-{name}" for kind in KINDS[1:] for name in names]
    files = {jail: Path(_must(podman("mount", jail)).strip(), ENV) for jail in jails}
    _tell("podman", len(names), took, files)


def _serving(cli: Cli, kind: str) -> AbstractContextManager[object]:
    return cli.serving() if kind == SERVED else nullcontext()


def _must(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode:
        raise RuntimeError(f"{done.args}: {done.stderr}")
    return done.stdout


def _runc(home: Path, jails: int) -> None:
    (home / "trial").mkdir()
    why = unavailable(home / "trial")
    if why:
        print(f"hook: {why}")
        return
    cli = Cli(home).ready()
    jails_of = {kind: [f"{kind}-{number}" for number in range(jails)] for kind in KINDS}
    for name in chain.from_iterable(jails_of.values()):
        cli.tenant(name, API_KEY=f"value-of-{name}")
        furnish(cli.state / "jails" / name / "root")
    runtime = Runtime(home, cli)
    bundles = {
        kind: _bundles(runtime, names, hooked=kind != ALONE) for kind, names in jails_of.items()
    }

    def start(bundle: Path) -> Result:
        return runtime.run(bundle, bundle.name, PATIENCE)

    took = {}
    for kind in KINDS:
        with _serving(cli, kind):
            took[kind] = _at_once(start, bundles[kind])
    hooked = [name for kind in KINDS[1:] for name in jails_of[kind]]
    _tell("runc", jails, took, {name: cli.state / "jails" / name / "root" / ENV for name in hooked})


def _tell(engine: str, jails: int, took: Mapping[str, float], files: Mapping[str, Path]) -> None:
    own = all(f"value-of-{jail}" in _text(file) for jail, file in files.items())
    print(f"{engine}: {jails} jails at once, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for kind, seconds in took.items():
        ratio = "" if kind == ALONE else f"  ratio {seconds / took[ALONE]:5.2f} (goal {GOAL})"
        print(f"  {kind:<7}{seconds / jails * 1000:8.1f} ms per jail{ratio}")
    print(f"  each has its own: {own}")


def _bundles(runtime: Runtime, names: list[str], *, hooked: bool) -> list[Path]:
    made = []
    for name in names:
        root = runtime.cli.state / "jails" / name / "root"
        bundle = runtime.bundle(root, "/bin/true", jail=name)
        config = json.loads((bundle / "config.json").read_text())
        if not hooked:
            config["hooks"] = {}
        kept = runtime.place / f"bundle-{name}-{hooked}"
        shutil.move(bundle, kept)
        (kept / "config.json").write_text(json.dumps(config))
        made.append(kept)
    return made


def _at_once(start: Callable[[T], Result], jails: Sequence[T]) -> float:
    """Return the seconds that starting all of them at once took; say why any did not start."""
    begun = time.monotonic()
    with ThreadPoolExecutor(len(jails)) as pool:
        ran = list(pool.map(start, jails))
    elapsed = time.monotonic() - begun
    failed = [f"{done.argv[-1]}: {done.stderr}" for done in ran if done.status]
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(ran)} did not start: " + "\n".join(failed))
    return elapsed


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""
