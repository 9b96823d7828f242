"""Work in parts, each in a process of its own that ends with us.

Rule bent: a fork without exec. Why that is safe: the caller has no other thread then, the child
runs what it is given and nothing after it, and leaves without our exit handlers or buffers.
"""

from __future__ import annotations

import gc
import math
import os
import signal
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from typing import Final, NoReturn, TypeVar

from vault_svc.hazmat.ending import NUMBERS, masked
from vault_svc.hazmat.tie import tie_to

P = TypeVar("P")
R = TypeVar("R")
_GRACE_SECONDS: Final = 3.0
_TICK: Final = 0.01


def spread(parts: Sequence[P], act: Callable[[P], Iterator[R]]) -> Generator[R, None, None]:
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
        _end(children)


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
    pair: tuple[Connection, ...] = ()
    tie = tie_to(os.getpid())
    try:
        pair = reader, writer = Pipe(duplex=False)
        with masked():  # the child is not to unwind what is its parent's
            child = os.fork()
            if child == 0:
                _serve(part, act, writer, tie, (reader, *others))
    except OSError:
        for each in pair:
            each.close()
        return None
    writer.close()
    return reader, child


def _serve(
    part: P,
    act: Callable[[P], Iterator[R]],
    writer: Connection,
    tie: Callable[[], None],
    not_ours: Sequence[Connection],
) -> NoReturn:
    try:
        # Whatever our parent made of it: asked to end, we end what we started first.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)
        tie()
        for each in not_ours:
            each.close()
        gc.freeze()  # what is here already stays shared
        gc.disable()  # a part's life is short, and a search costs more than it finds
        results = act(part)
        try:
            for result in results:
                writer.send(result)
        finally:
            if isinstance(results, Generator):
                results.close()
    finally:
        os._exit(0)


def _end(children: dict[Connection, int]) -> None:
    """Ask all to end, then see to it."""
    left = set(children.values())
    for reader, child in children.items():
        reader.close()
        _signal(child, signal.SIGTERM)
    give_up = time.monotonic() + _GRACE_SECONDS
    while left:
        left -= {child for child in left if _is_over(child)}
        if left and time.monotonic() > give_up:
            for child in left:
                _signal(child, signal.SIGKILL)
            give_up = math.inf
        time.sleep(_TICK if left else 0)


def _signal(child: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(child, number)


def _is_over(child: int) -> bool:
    try:
        return os.waitpid(child, os.WNOHANG)[0] == child
    except ChildProcessError:
        return True
