"""The racing tenant: exchanges a directory and a symlink to a host directory as fast as it can.

Part of the proof, not of the product; run by inside.py, imports nothing of colibri. Each turn
exchanges twice, so that a pause leaves the tree right. It ends when its stdin does, and then
prints what it did as JSON: exchanges, failures, seconds, confined.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import sys
import time

_EXCHANGE = 2
_AT_FDCWD = -100
_TURNS = 500


def _exchange_at_once(one: bytes, other: bytes) -> int:
    """Return the failures of _TURNS turns of renameat2(2) with RENAME_EXCHANGE."""
    rename, failures = ctypes.CDLL(None).renameat2, 0
    for _ in range(_TURNS):
        failures -= rename(_AT_FDCWD, one, _AT_FDCWD, other, _EXCHANGE)
        failures -= rename(_AT_FDCWD, one, _AT_FDCWD, other, _EXCHANGE)
    return failures


def _exchange_in_steps(one: bytes, other: bytes) -> int:
    """Do the same by pairs of renames, where there is no atomic exchange (FreeBSD before 16)."""
    aside = one + b".aside"
    for _ in range(_TURNS):
        for _ in range(2):
            os.rename(one, aside)  # noqa: PTH104
            os.rename(other, one)  # noqa: PTH104
            os.rename(aside, other)  # noqa: PTH104
    return 0


def main(arguments: list[str], root: str, how: str) -> int:
    """Exchange NAME with a symlink to TARGET until stdin ends."""
    name, target = arguments
    one, other = os.path.join(root, name), os.path.join(root, name + ".swap")  # noqa: PTH118
    os.symlink(target, other)  # noqa: PTH211
    exchange = _exchange_at_once if hasattr(ctypes.CDLL(None), "renameat2") else _exchange_in_steps
    turns = failures = 0
    started = time.monotonic()
    while True:
        failures += exchange(one.encode(), other.encode())
        turns += _TURNS
        if turns == _TURNS:
            sys.stdout.write("ready\n")
            sys.stdout.flush()
        if select.select([0], [], [], 0)[0]:
            break
    seconds = time.monotonic() - started
    os.unlink(other)  # noqa: PTH108
    done = {"exchanges": 2 * turns - failures, "failures": failures}
    json.dump({**done, "seconds": seconds, "confined": how}, sys.stdout)
    return 0
