"""Work in parts, each in a process of its own that ends with us.

Rule bent: a fork without exec. Why that is safe: the caller has no other thread then, the child
runs what it is given and nothing after it, and leaves without our exit handlers or buffers.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from typing import TypeVar

from vault_svc.hazmat.tie import tie_to

P = TypeVar("P")
R = TypeVar("R")


def spread(parts: Sequence[P], act: Callable[[P], Iterator[R]]) -> Iterator[R]:
    """Yield what act yields for each part, as it comes, one process a part.

    Results are pickled. A child that ends early is not told of: whoever misses its results must
    notice. Where no process can be made the part is done here. Closing the iterator ends all.
    """
    children: dict[Connection, int] = {}
    here: list[P] = []
    try:
        for part in parts:
            forked = _fork(part, act, list(children))
            if forked is None:
                here.append(part)
            else:
                children[forked[0]] = forked[1]
        yield from _collected(children)
        for part in here:
            yield from act(part)
    finally:
        for reader, child in children.items():
            reader.close()
            _end(child)


def _collected(children: dict[Connection, int]) -> Iterator[R]:
    while children:
        ready = wait(list(children))
        for reader in [each for each in children if each in ready]:
            try:
                yield reader.recv()
            except (EOFError, OSError):
                reader.close()
                os.waitpid(children.pop(reader), 0)


def _fork(
    part: P, act: Callable[[P], Iterator[R]], others: Sequence[Connection]
) -> tuple[Connection, int] | None:
    reader, writer = Pipe(duplex=False)
    tie = tie_to(os.getpid())
    try:
        child = os.fork()
    except OSError:
        reader.close()
        writer.close()
        return None
    if child == 0:
        try:
            tie()
            for each in (reader, *others):
                each.close()
            gc.freeze()  # what is here already stays shared, and is not searched again
            for result in act(part):
                writer.send(result)
        finally:
            os._exit(0)
    writer.close()
    return reader, child


def _end(child: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGTERM)
    with suppress(ChildProcessError):
        os.waitpid(child, 0)
