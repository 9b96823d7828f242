"""From `/` through an allowed base to a jail root, trusting no component before it was looked at.

Decision 6: every directory above the root belongs to root or to us and nobody else may write it,
so that only the operator can change where the path leads; the root itself is proven by identity.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from vault_svc.hazmat.confine_error import Reason, Refused
from vault_svc.hazmat.confine_walk import SEARCH, Root, Walk, described, root_from
from vault_svc.hazmat.hidden_owners import is_ours_or_roots

_OTHERS_WRITE: Final = 0o022
JAILS: Final = "jails"


@lru_cache(maxsize=1024)  # each root, and each base, is asked for several times a delivery
def components(path: str) -> tuple[str, ...] | None:
    """Split an absolute canonical path; None for anything else (`..`, `//`, trailing slash)."""
    parts = tuple(path[1:].split("/"))
    if not path.startswith("/") or "\0" in path or any(p in {"", ".", ".."} for p in parts):
        return None
    return parts


@dataclass(frozen=True, slots=True)
class State:
    """A directory no jail root may be, contain or lie in, its `jails` excepted.

    ancestry: (device, inode) of it and of every directory above, so that another name for it
    (a symlinked state directory, a bind mount) is the same; empty while it does not exist.
    """

    parts: tuple[str, ...]
    ancestry: tuple[tuple[int, int], ...]


def state_at(path: str) -> State:
    """Look where the directory path is now; raise OSError unless it is there or missing."""
    return State(components(path) or (), _ancestry(path))


def _ancestry(path: str) -> tuple[tuple[int, int], ...]:
    fd = os.open("/", SEARCH)
    found: list[tuple[int, int]] = []
    try:
        # The operator's own setting may lead through links; what it leads to is what counts.
        step = path.lstrip("/") or "."
        while not found or found[-1] != _identity(fd):
            found.append(_identity(fd))
            below = os.open(step, SEARCH & ~os.O_NOFOLLOW, dir_fd=fd)
            fd, above = below, fd
            os.close(above)
            step = ".."
    except FileNotFoundError:
        return ()
    finally:
        os.close(fd)
    return tuple(found[1:])


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return (status.st_dev, status.st_ino)


@dataclass(frozen=True, slots=True)
class Held:
    """A base whose whole way from `/` was proven, held open; seen: the identities on that way."""

    parts: tuple[str, ...]
    fd: int
    seen: tuple[tuple[int, int], ...]


@contextlib.contextmanager
def holding(bases: Sequence[str]) -> Iterator[tuple[Held, ...]]:
    """Hold open those of bases that can be proven now; the others are refused when walked."""
    with contextlib.ExitStack() as stack:
        held = []
        for base in bases:
            parts = components(base)
            with contextlib.suppress(Refused, OSError):
                if parts is not None:
                    fd, seen = _descend(parts)
                    stack.callback(os.close, fd)
                    held.append(Held(parts, fd, tuple(seen)))
        yield tuple(held)


def stands(base: Held) -> bool:
    """Say whether the base's path still leads from `/` to what was proven when it was held."""
    try:
        fd, seen = _descend(base.parts)
    except (Refused, OSError):
        return False
    os.close(fd)
    return tuple(seen) == base.seen


def open_root(
    path: str,
    *,
    bases: Sequence[str],
    forbidden: Sequence[State],
    ino: int | None,
    walk: Walk,
    held: Sequence[Held] = (),
) -> Root:
    """Open and prove the jail root at path; the caller closes its descriptor.

    held: bases proven before, from which the walk begins instead of `/`. What a descriptor has
    proven stays true of it; where the base's path leads by now only a walk from `/` can tell.
    Raises Refused: ROOT_NOT_ALLOWED unless path lies strictly below one of bases by components
    and neither is, contains nor lies in a forbidden directory (its `jails` excepted);
    UNTRUSTED_BASE, ROOT_NOT_PLAIN, ROOT_MISSING, ROOT_MISMATCH (ino).
    """
    parts = components(path)
    if parts is None:
        raise Refused(Reason.ROOT_NOT_ALLOWED, path, detail="not an absolute canonical path")
    _check_allowed(path, parts, bases)
    for state in forbidden:
        _check_state(path, parts, state.parts)
    fd, seen = _descend(parts, held)
    try:
        for state in forbidden:
            _check_identity(path, parts, seen, state)
        _check_ino(path, seen[-1][1], ino)
        return root_from(fd, walk)
    except BaseException:
        os.close(fd)
        raise


def _check_ino(path: str, found: int, registered: int | None) -> None:
    """Refuse a root that was made anew since it was registered."""
    if registered is not None and found != registered:
        detail = f"registered inode {registered}, found {found}"
        raise Refused(Reason.ROOT_MISMATCH, path, detail=detail)


def _check_allowed(path: str, parts: tuple[str, ...], bases: Sequence[str]) -> None:
    """Refuse a root that is not strictly below a base, compared component by component."""
    for base in bases:
        above = components(base)
        if above is None:
            raise Refused(
                Reason.UNTRUSTED_BASE, base, detail="not an absolute canonical path below /"
            )
        if len(parts) > len(above) and parts[: len(above)] == above:
            return
    raise Refused(Reason.ROOT_NOT_ALLOWED, path, detail="not strictly below an allowed base")


def _check_state(path: str, parts: tuple[str, ...], state: tuple[str, ...]) -> None:
    """Refuse a root that is, contains or lies in the state directory, but not below its jails."""
    if state[: len(parts)] == parts:
        raise Refused(Reason.ROOT_NOT_ALLOWED, path, detail="it contains colibri's state")
    inside = state != () and parts[: len(state)] == state
    if inside and not (len(parts) > len(state) + 1 and parts[len(state)] == JAILS):
        raise Refused(Reason.ROOT_NOT_ALLOWED, path, detail="it lies in colibri's state")


def _check_identity(
    path: str, parts: tuple[str, ...], seen: list[tuple[int, int]], state: State
) -> None:
    """Refuse the same by identity: names were compared already, directories have more of them."""
    if seen[-1] in state.ancestry:
        raise Refused(Reason.ROOT_NOT_ALLOWED, path, detail="it contains colibri's state")
    for depth, identity in enumerate(seen[:-1]):
        below_jails = parts[depth + 1] == JAILS and len(parts) > depth + 2
        if state.ancestry[:1] == (identity,) and not below_jails:
            raise Refused(Reason.ROOT_NOT_ALLOWED, path, detail="it lies in colibri's state")


def _descend(
    parts: tuple[str, ...], held: Sequence[Held] = ()
) -> tuple[int, list[tuple[int, int]]]:
    """Open every component from `/`, or from a held base, checking each before the next is opened.

    Returns the last one's descriptor and the identities of all of them.
    """
    fd, seen = _beginning(parts, held)
    try:
        status = os.fstat(fd)
        for depth in range(len(seen), len(parts)):
            _check_trusted(status, parts[:depth])
            below = _open_component(fd, parts, depth)
            fd, above = below, fd
            os.close(above)
            status = os.fstat(fd)
            seen.append((status.st_dev, status.st_ino))
    except BaseException:
        os.close(fd)
        raise
    return fd, seen


def _beginning(parts: tuple[str, ...], held: Sequence[Held]) -> tuple[int, list[tuple[int, int]]]:
    for base in held:
        if parts[: len(base.parts)] == base.parts:
            return os.open(".", SEARCH, dir_fd=base.fd), list(base.seen)
    return os.open("/", SEARCH), []


def _check_trusted(status: os.stat_result, parts: tuple[str, ...]) -> None:
    """Refuse a directory that anyone but root and us owns or may write, sticky or not."""
    if not is_ours_or_roots(status):
        detail = f"it belongs to uid {status.st_uid}"
        raise Refused(Reason.UNTRUSTED_BASE, "/" + "/".join(parts), detail=detail)
    if status.st_mode & _OTHERS_WRITE:
        detail = f"its mode {stat.S_IMODE(status.st_mode):04o} lets others write"
        raise Refused(Reason.UNTRUSTED_BASE, "/" + "/".join(parts), detail=detail)


def _open_component(dir_fd: int, parts: tuple[str, ...], depth: int) -> int:
    """Open one component, or say what stands there; the last one is the root itself."""
    name, last = parts[depth], depth == len(parts) - 1
    try:
        return os.open(name, SEARCH, dir_fd=dir_fd)
    except FileNotFoundError as error:
        shown = "/" + "/".join(parts[: depth + 1])
        raise Refused(Reason.ROOT_MISSING, shown, err=error.errno or 0) from None
    except OSError as error:
        shown = "/" + "/".join(parts[: depth + 1])
        refused = described(dir_fd, name, shown, error)
    if refused.reason not in {Reason.SYMLINK, Reason.NOT_A_DIRECTORY}:
        raise refused
    reason = Reason.ROOT_NOT_PLAIN if last else Reason.UNTRUSTED_BASE
    detail = refused.detail or "symlink"
    raise Refused(reason, shown, target=refused.target, detail=detail, err=refused.errno)
