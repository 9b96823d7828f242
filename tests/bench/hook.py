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
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    annotated = ["--annotation=colibri.jail={}"]
    for kind, options in (("alone", []), ("hooked", annotated)):
        for name in names:
            marks = [option.format(f"{kind}-{name}") for option in options]
            line = ["create", f"--name={kind}-{name}", *marks, engines.IMAGE, "/bin/true"]
            _must(podman(*line))
    for name in names:
        podman.cli.must("secret", "set", name, "API_KEY", stdin=f"value-of-{name}".encode())
        where = ("--jail", f"hooked-{name}", "--engine=podman", "--env-path=/home/app/.env")
        podman.cli.must("register-tenant", name, *where)

    def start(name: str) -> Result:
        done = podman("start", "--attach", name, seconds=PATIENCE)
        return Result((name,), done.returncode, done.stdout.encode(), done.stderr)

    alone = _at_once(start, [f"alone-{name}" for name in names])
    with_hook = _at_once(start, [f"hooked-{name}" for name in names])
    mounts = {name: _must(podman("mount", f"hooked-{name}")).strip() for name in names}
    own = all(_has(Path(mounts[name], "home/app/.env"), name) for name in names)
    _tell("podman", len(names), alone, with_hook, own)


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
    names = [f"t{number}" for number in range(jails)]
    for name in names:
        cli.tenant(name, API_KEY=f"value-of-{name}")
        furnish(cli.state / "jails" / name / "root")
    runtime = Runtime(home, cli)
    bundles = {hooked: _bundles(runtime, names, hooked=hooked) for hooked in (False, True)}

    def start(bundle: Path) -> Result:
        return runtime.run(bundle, bundle.name, PATIENCE)

    alone = _at_once(start, bundles[False])
    hooked = _at_once(start, bundles[True])
    files = {name: cli.state / "jails" / name / "root/home/app/.env" for name in names}
    _tell("runc", jails, alone, hooked, all(_has(file, name) for name, file in files.items()))


def _tell(engine: str, jails: int, alone: float, hooked: float, own: bool) -> None:
    print(f"{engine}: {jails} jails at once, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"  {engine} alone".ljust(24) + f"{alone / jails * 1000:8.1f} ms per jail")
    print(f"  {engine} with the hook".ljust(24) + f"{hooked / jails * 1000:8.1f} ms per jail")
    print("  ratio".ljust(24) + f"{hooked / alone:8.2f} (goal {GOAL})")
    print("  each has its own".ljust(24) + f"{own!s:>8}")


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


def _has(file: Path, name: str) -> bool:
    return file.exists() and f"value-of-{name}" in file.read_text()
