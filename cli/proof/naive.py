"""Two writers of the usual kind, which the same attacks must beat: the proof's positive control.

Part of the proof, not of the product (which resolves nothing by string); a process of its own:
`python -I naive.py`, a JSON job on stdin, JSON on stdout. `plain` opens the name, as cp(1) does;
`realpath` asks first whether the resolved name is inside, as most programs that care do.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

_SECONDS_PER_WRITE = 0.25


def plain(root: str, name: str, content: bytes, uid: int, gid: int) -> None:
    """Write, chmod and chown by name."""
    _put(os.path.join(root, name), content, uid, gid)  # noqa: PTH118


def realpath(root: str, name: str, content: bytes, uid: int, gid: int) -> None:
    """Do the same if the resolved name is inside the root."""
    wanted = os.path.join(root, name)  # noqa: PTH118
    if not os.path.realpath(wanted).startswith(root + "/"):
        raise PermissionError("outside the root")
    _put(wanted, content, uid, gid)


def _put(path: str, content: bytes, uid: int, gid: int) -> None:
    with open(path, "wb") as file:  # noqa: PTH123
        file.write(content)
    os.chmod(path, 0o600)  # noqa: PTH101
    os.chown(path, uid, gid)


def _raised(_number: int, _frame: object) -> None:
    raise TimeoutError("it hung")


def once(job: dict[str, Any]) -> dict[str, Any]:
    """Write into one tree; say `written`, or what stopped it."""
    writer = {"plain": plain, "realpath": realpath}[job["writer"]]
    signal.setitimer(signal.ITIMER_REAL, _SECONDS_PER_WRITE)
    try:
        writer(job["root"], job["name"], b"NAIVE=1\n", job["uid"], job["gid"])
    except OSError as error:
        return {"result": str(error.strerror or error)}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return {"result": "written"}


def race(job: dict[str, Any]) -> dict[str, Any]:
    """Write again and again until it has lost often enough or time is up; count the losses."""
    outside = os.path.join(job["outside"], os.path.basename(job["name"]))  # noqa: PTH118, PTH119
    attempts = losses = 0
    give_up = time.monotonic() + job["seconds"]
    while losses < job["losses"] and time.monotonic() < give_up:
        attempts += 1
        once({**job, "writer": "realpath"})
        try:
            os.unlink(outside)  # noqa: PTH108
        except FileNotFoundError:
            continue
        losses += 1
    return {"attempts": attempts, "losses": losses}


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, _raised)
    wanted = json.load(sys.stdin)
    done = race(wanted) if "seconds" in wanted else [once(job) for job in wanted["jobs"]]
    json.dump(done, sys.stdout)
