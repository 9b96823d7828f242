"""Jails started all at once, by the OCI runtime alone and with the hook: time per jail."""

from __future__ import annotations

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.hook.containers import Runtime, furnish, unavailable
from tests.kit.cli import Cli
from tests.kit.places import private_directory

GOAL = 1.3
PATIENCE = 300
"""Seconds in which a container is given up."""


def report(jails: int) -> None:
    """Print both figures and their ratio."""
    if os.geteuid() != 0:
        print("hook: needs root")
        return
    with private_directory() as home:
        (home / "trial").mkdir()
        why = unavailable(home / "trial")
        if why:
            print(f"hook: {why}")
            return
        _measure(home, jails)


def _measure(home: Path, jails: int) -> None:
    cli = Cli(home).ready()
    names = [f"t{number}" for number in range(jails)]
    for name in names:
        cli.tenant(name, API_KEY=f"value-of-{name}")
        furnish(cli.state / "jails" / name / "root")
    runtime = Runtime(home, cli)
    bundles = {hooked: _bundles(runtime, names, hooked=hooked) for hooked in (False, True)}
    alone = _start(runtime, bundles[False])
    hooked = _start(runtime, bundles[True])
    own = all(f"value-of-{name}" in _file(cli, name) for name in names)
    print(f"{jails} jails at once, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"  runc alone          {alone / jails * 1000:8.1f} ms per jail")
    print(f"  runc with the hook  {hooked / jails * 1000:8.1f} ms per jail")
    print(f"  ratio               {hooked / alone:8.1f} (goal {GOAL})")
    print(f"  each has its own    {own}")


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


def _start(runtime: Runtime, bundles: list[Path]) -> float:
    """Return the seconds that starting all of them at once took; say why any did not start."""
    begun = time.monotonic()
    with ThreadPoolExecutor(len(bundles)) as pool:
        ran = list(pool.map(lambda bundle: runtime.run(bundle, bundle.name, PATIENCE), bundles))
    elapsed = time.monotonic() - begun
    failed = [f"{done.argv[-1]}: {done.stderr}" for done in ran if done.status]
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(ran)} did not start: " + "\n".join(failed))
    return elapsed


def _file(cli: Cli, name: str) -> str:
    path = cli.state / "jails" / name / "root/home/app/.env"
    return path.read_text() if path.exists() else ""
