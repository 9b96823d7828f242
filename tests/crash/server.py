"""A colibri that is warm: imports once, then forks one process for each command it is asked for.

A kill costs a twentieth of a second instead of a whole start-up, and strace, which is attached
before the command begins, counts no call of the start-up. Run as `python -m tests.crash.server`;
speaks JSON lines. One thread only, because it forks.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import resource
import signal
import subprocess
import sys
from pathlib import Path

COMMANDS = (
    "cli.app",
    "cli.start",
    "typer._adapters",
    "typer._click.decorators",
    "concurrent.futures.thread",
)
SECONDS = 60
_PR_SET_PTRACER = 0x59616D61  # Yama, where ptrace_scope is 1: strace is our sibling
_ANY = ctypes.c_ulong(-1)


def serve(requests: int, replies: int) -> None:
    """Answer requests until the other side is gone; in a child, run the command instead."""
    with os.fdopen(requests, "rb") as lines:
        for line in lines:
            asked = json.loads(line)
            gate, opener = os.pipe()
            ready, steady = os.pipe()
            child = os.fork()
            if child == 0:
                for descriptor in (opener, ready, replies):
                    os.close(descriptor)
                _command(asked, gate, steady)
            os.close(gate)
            os.close(steady)
            os.read(ready, 1)  # from here on the child does nothing until the gate opens
            os.close(ready)
            reply = _watch(child, opener, asked.get("strace"))
            os.write(replies, json.dumps(reply).encode() + b"\n")


def _command(asked: dict, gate: int, steady: int) -> None:
    """Become colibri: argv, environment and standard streams as asked; ends as a process does.

    Several commands run one after the other in the same process, which is quicker.
    """
    os.setsid()
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANY, 0, 0, 0)
    os.environ.clear()
    os.environ.update(asked["env"])
    *first, last = asked["commands"]
    _streams(last)
    os.close(steady)
    os.read(gate, 1)
    os.close(gate)
    for step in first:
        Path(step["status"]).write_text(str(_run(step)))
        gc.collect()  # what the command held open is closed as at its end
    if first:
        Path(last["status"]).write_text(str(_run(last)))
        gc.collect()
        os._exit(0)
    importlib.import_module("cli.start").main()


def _run(step: dict) -> int:
    _streams(step)
    try:
        importlib.import_module("cli.start").main()
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def _streams(step: dict) -> None:
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        descriptor = os.open(step[name], flags, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", closefd=False)
    sys.argv = ["colibri", *step["argv"]]


def _watch(child: int, opener: int, strace: list[str] | None) -> dict:
    tracer = None
    if strace:
        tracer = subprocess.Popen(
            [*strace, "-p", str(child)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        said = tracer.stderr.readline()
        if "attached" not in said:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            tracer.kill()
            tracer.wait()
            return {"fault": f"strace did not attach: {said.strip()}"}
    os.write(opener, b"x")
    os.close(opener)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # nothing the command started outlives it
    if tracer:
        try:
            tracer.wait(SECONDS)
        finally:
            tracer.kill()
            tracer.stderr.close()
    return {"status": os.waitstatus_to_exitcode(status)}


def warm_up() -> None:
    """Import all there is: an import is calls too, and others once its bytecode was written."""
    for name in COMMANDS:
        importlib.import_module(name)
    import vault_svc

    for found in pkgutil.walk_packages(vault_svc.__path__, "vault_svc."):
        if ".migrations." not in found.name:
            importlib.import_module(found.name)


def main() -> None:
    """Warm up, sabotage if asked to, serve."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    warm_up()
    for flaw in sys.argv[1:]:
        importlib.import_module("tests.crash.sabotage").commit(flaw)
    gc.freeze()
    requests, replies = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    os.write(replies, b'{"ready": true}\n')
    serve(requests, replies)


if __name__ == "__main__":
    main()
