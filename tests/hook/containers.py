"""Containers for the tests: a root file system of busybox, and the real OCI runtime."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli import hook_call
from tests.kit.cli import INSTALLED, Cli, Result

BUSYBOX = Path("/bin/busybox")
APPLETS = ("sh", "cat", "id", "ls", "sleep", "true", "env", "mount", "echo", "kill")
AGENT = 1000
SHORT_WAY = Path(hook_call.__file__).with_name("hook_start.py")


def furnish(root: Path) -> None:
    """Put programs into a jail's root, as its image would have."""
    (root / "bin").mkdir(exist_ok=True)
    shutil.copy(BUSYBOX, root / "bin/busybox")
    for name in APPLETS:
        (root / "bin" / name).symlink_to("busybox")
    for name in ("proc", "dev", "sys", "tmp"):
        (root / name).mkdir(exist_ok=True)


@dataclass
class Runtime:
    """runc with its state in a place of its own, and one bundle whose root is a jail's."""

    place: Path
    cli: Cli
    program: str = "runc"
    options: tuple[str, ...] = field(default=())

    @property
    def home(self) -> Path:
        return self.place / "runtime"

    def bundle(self, root: Path, *argv: str, jail: str | None = "acme", **changes: Any) -> Path:
        """Make a bundle that calls the hook; changes replace keys of its config.json."""
        made = self.place / "bundle"
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(mode=0o700)
        subprocess.run([self.program, "spec"], cwd=made, check=True)
        config = json.loads((made / "config.json").read_text())
        config["process"] |= {"terminal": False, "args": list(argv)}
        config["process"]["user"] = {"uid": AGENT, "gid": AGENT}
        config["root"] = {"path": str(root), "readonly": False}
        config["annotations"] = {"colibri.jail": jail} if jail else {}
        config["hooks"] = {"createRuntime": [self.hook()]}
        (made / "config.json").write_text(json.dumps(config | changes))
        return made

    def hook(self, *options: str) -> dict[str, Any]:
        environment = [f"{k}={v}" for k, v in self.cli.environment.items()]
        hooks = str(self.cli.state / "hooks")
        args = [sys.executable, "-I", "-S", str(SHORT_WAY), hooks, "60"]
        args += [str(INSTALLED), "hook", "oci", *options]
        return {"path": args[0], "args": args, "env": environment, "timeout": 60}

    def run(self, bundle: Path, name: str = "t1", seconds: float = 60) -> Result:
        line = [self.program, "--root", str(self.home), *self.options]
        line += ["run", "--bundle", str(bundle), name]
        done = subprocess.run(
            line,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={"PATH": os.environ["PATH"]},
            timeout=seconds,
            check=False,
        )
        return Result(tuple(line), done.returncode, done.stdout, done.stderr.decode())

    def left(self) -> list[str]:
        """Name the containers that are still there."""
        return sorted(each.name for each in self.home.iterdir()) if self.home.exists() else []


def unavailable(place: Path, program: str = "runc") -> str | None:
    """Say why containers can't be run here, from a trial run."""
    if not shutil.which(program):
        return f"{program} is not installed"
    if not BUSYBOX.exists() or b"statically" not in _file(BUSYBOX):
        return "busybox is not the static one"
    root = place / "trial"
    root.mkdir(mode=0o755)
    furnish(root)
    runtime = Runtime(place, Cli(place), program)
    done = runtime.run(runtime.bundle(root, "/bin/true", hooks={}))
    shutil.rmtree(root)
    return None if done.status == 0 else f"a trial run of {program} failed: {done.stderr[-300:]}"


def _file(program: Path) -> bytes:
    ran = subprocess.run(["ldd", str(program)], capture_output=True, check=False)
    return ran.stdout + ran.stderr.replace(b"not a dynamic executable", b"statically")
