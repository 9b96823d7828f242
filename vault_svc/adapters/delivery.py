"""The port `Delivery` over hazmat: stable codes, and sentences a person can act on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy as twin
from dataclasses import replace
from typing import Final, TypeVar

from vault_svc.adapters.delivery_words import said, spoken
from vault_svc.domain import ids
from vault_svc.domain.ids import IdMap
from vault_svc.domain.receipt import Found, Owner, Placed
from vault_svc.errors import ColibriError
from vault_svc.hazmat import (
    confine,
    confine_files,
    confine_walk,
    ending,
    memory_fs,
)
from vault_svc.hazmat import (
    second_layer as layers,
)
from vault_svc.hazmat.confine_error import Reason, Refused
from vault_svc.hazmat.confine_root import Held, components, holding, open_root, stands, state_at
from vault_svc.hazmat.confine_walk import Root
from vault_svc.hazmat.jail_memory import memory_seen
from vault_svc.hazmat.jail_view import View, looked_into
from vault_svc.ports.delivery import JailRoot

T = TypeVar("T")
_REPLACED: Final = "the jail root was replaced"


class ConfinedDelivery:
    """Delivers beneath jail roots that lie strictly below bases and outside of state_dir."""

    def __init__(
        self,
        bases: Sequence[str],
        *,
        state_dir: str,
        walk: str = "auto",
        allow_walk_fallback: bool = False,
        create_parents: bool = False,
        second_layer: str = "off",
        memory_base: str = "",
    ) -> None:
        """Take absolute paths, the walk (`auto`, `openat2`, `portable`) and the second layer.

        second_layer: `auto` where the host has one, `require` or `off`. memory_base: below it the
        jails' memories are made, and no jail's tree. Raises `helper_missing` or `helper_untrusted`
        where no safe walk, or not the required layer, is to be had.
        """
        self._bases = tuple(bases)
        self._memory = (memory_base,) if memory_base else ()
        self._held: tuple[Held, ...] = ()
        self._forbidden = (state_at(state_dir),)
        self._create_parents = create_parents
        with spoken():
            self._walk = confine_walk.choose(walk, allow_fallback=allow_walk_fallback)
        self.no_second_layer = "the setting second_layer turns it off"
        self._layer = layers.choose()
        if second_layer != "off":
            self.no_second_layer = self._layer.unavailable() or ""
        if second_layer == "require" and self.no_second_layer:
            raise ColibriError(
                "helper_missing",
                f"writes in jails cannot be confined twice: {self.no_second_layer}",
                hint=f"use {self._layer.NEEDS} with {self._layer.NAME}, or second_layer = auto",
            )

    @property
    def walk(self) -> str:
        """The walk in use, for `doctor`."""
        return self._walk.name

    @property
    def second_layer(self) -> str:
        """The second layer's name, for `doctor`."""
        return self._layer.NAME

    def _guarded(self, root: JailRoot, proven: Root, act: Callable[[], T]) -> T:
        """Do it where nothing but what lies below root can be changed, if this host can."""
        try:
            return act() if self.no_second_layer else self._layer.within(proven.fd, act)
        except Refused as refused:
            if root.mount:  # paths are told as the jail has them
                refused.component = f"{root.mount}/{refused.component}".rstrip("/")
            raise

    @contextlib.contextmanager
    def holding(self) -> Iterator[ConfinedDelivery]:
        """Yield a delivery that has proven the bases once, for one batch.

        Jail roots are still opened and proven each time, before and after a write. Whether the
        bases are where they were, `astray` tells once for all that was written meanwhile.
        """
        with holding((*self._bases, *self._memory)) as held, ending.gated():
            within = twin(self)
            within._held = held  # noqa: SLF001 - a copy of this very object
            yield within

    def astray(self, roots: Collection[JailRoot]) -> dict[str, ColibriError]:
        """Return `tampered` for each root's path whose base was moved since it was held."""
        moved = [base.parts for base in self._held if roots and not stands(base)]
        return {
            root.path: said(Refused(Reason.TAMPERED, root.path, detail=_REPLACED))
            for root in roots
            if _is_below(root.path, moved)
        }

    def prove_root(self, root: JailRoot) -> int:
        """Verify the root and return its inode number; codes as in the port."""
        with spoken(), self._proven(root) as (proven, _):
            return os.fstat(proven.fd).st_ino

    def inspect(self, root: JailRoot, path: Sequence[str], *, max_bytes: int) -> Found:
        """Return what stands at path; a missing directory on the way is `missing` too."""
        with spoken():
            parts = confine.checked(path)
            with self._proven(root) as (proven, view):
                found = confine.inspect(proven, parts, max_bytes=max_bytes)
                if found.kind != "file":
                    return found
                if view is not None:
                    view.seen_owner(parts, (found.dev, found.ino))
                return _inside(_ids(root, proven, view), found)

    def place(
        self, root: JailRoot, path: Sequence[str], content: bytes, owner: Owner, mode: int = 0o600
    ) -> Placed:
        """Put content at path as a new inode, durably, read back; codes as in the port."""
        with spoken():
            parts = confine.checked(path)
            with self._proven(root) as (proven, view):
                outside = _ids(root, proven, view).outside(owner)
                if view is not None:
                    self._sees_parent(view, proven, parts[:-1])
                placed = self._guarded(
                    root,
                    proven,
                    lambda: confine.place(
                        proven, parts, content, outside, mode, create_parents=self._create_parents
                    ),
                )
                if view is not None:
                    _check_owner(view, parts, (placed.dev, placed.ino), owner)
                self._still_there(root, proven)
        return placed

    def _sees_parent(self, view: View, proven: Root, parts: Sequence[str]) -> None:
        """Refuse before anything is written what the jail would not see (containment.md, 2.3)."""
        try:
            view.sees_directory(proven, parts)
        except Refused as refused:
            if refused.reason is not Reason.MISSING or not self._create_parents:
                raise

    def settle(self, root: JailRoot, path: Sequence[str]) -> None:
        """Sync the file at path and its directory; codes as in the port."""
        with spoken():
            parts = confine.checked(path)
            with self._proven(root) as (proven, _):
                confine.settle(proven, parts)

    def remove(self, root: JailRoot, path: Sequence[str]) -> str:
        """Delete what stands at path and temporary files of ours; return its kind."""
        with spoken():
            parts = confine.checked(path)
            with self._proven(root) as (proven, _):
                kind = self._guarded(root, proven, lambda: confine.remove(proven, parts))
                self._still_there(root, proven)
        return kind

    def inspect_files(
        self, root: JailRoot, path: Sequence[str], names: Collection[str], *, max_bytes: int
    ) -> Found:
        """Return what stands at path, and at names in it; codes as in the port."""
        with spoken(), self._proven(root) as (proven, view):
            found = confine_files.inspect(proven, path, names, max_bytes=max_bytes)
            if found.kind != "directory":
                return found
            mapped = _ids(root, proven, view)
            if view is not None and found.files:
                view.sees_directory(proven, path)
            files = {
                name: _inside(mapped, each) if each.kind == "file" else each
                for name, each in (found.files or {}).items()
            }
            if view is not None:
                for name, each in files.items():
                    view.seen_owner((*path, name), (each.dev, each.ino))
            return replace(_inside(mapped, found), files=files)

    def place_files(
        self,
        root: JailRoot,
        path: Sequence[str],
        contents: Mapping[str, bytes],
        owner: Owner,
        mode: int = 0o400,
        *,
        stale: Collection[str] = (),
    ) -> Placed:
        """Have contents, and nothing of stale, in the directory at path; codes as in the port."""
        with spoken(), self._proven(root) as (proven, view):
            confine.checked(path)
            outside = _ids(root, proven, view).outside(owner)
            if view is not None:
                self._sees_parent(view, proven, path[:-1])
                _sees_own(view, proven, path)
            wanted = confine_files.Set(contents, outside, mode, stale)
            placed = self._guarded(
                root,
                proven,
                lambda: confine_files.place(
                    proven, path, wanted, create_parents=self._create_parents
                ),
            )
            if view is not None:
                view.sees_directory(proven, path)
                for name, identity in placed.files.items():
                    _check_owner(view, (*path, name), identity, owner)
            self._still_there(root, proven)
        return placed

    def settle_files(self, root: JailRoot, path: Sequence[str], names: Collection[str]) -> None:
        """Sync the files, their directory and the one that names it; codes as in the port."""
        with spoken(), self._proven(root) as (proven, _):
            confine_files.settle(proven, path, names)

    def remove_files(self, root: JailRoot, path: Sequence[str], names: Collection[str]) -> str:
        """Delete names at path, and the directory if nothing else is in it; return the kind."""
        with spoken(), self._proven(root) as (proven, _):
            kind = self._guarded(root, proven, lambda: confine_files.remove(proven, path, names))
            self._still_there(root, proven)
        return kind

    @contextlib.contextmanager
    def _proven(self, root: JailRoot) -> Iterator[tuple[Root, View | None]]:
        """Hold a descriptor of the verified root."""
        proven = open_root(
            root.path,
            bases=(_above(root.path),) if root.mount else self._bases,
            forbidden=self._forbidden,
            ino=root.ino,
            walk=self._walk,
            held=self._held,
        )
        try:
            if root.mount and not memory_fs.is_memory(proven.fd):
                raise Refused(Reason.ROOT_MISSING, root.path)
            if root.pid is None:
                yield proven, None
                return
            with self._seen(root, root.pid, proven) as view:
                view.prove(proven)
                yield proven, view
                view.prove_alive()
        finally:
            os.close(proven.fd)

    def _seen(
        self, root: JailRoot, pid: int, proven: Root
    ) -> contextlib.AbstractContextManager[View]:
        if root.mount:
            return memory_seen(pid, root.inside, root.mount, proven)
        return looked_into(pid, root.inside, self._walk)

    def _still_there(self, root: JailRoot, proven: Root) -> None:
        """Refuse success if the root's path leads elsewhere by now (a jail moved or remade)."""
        now = replace(root, ino=os.fstat(proven.fd).st_ino)
        try:
            with self._proven(now) as (again, _):
                moved = again.mount != proven.mount
        except Refused:
            moved = True
        if moved:
            raise Refused(Reason.TAMPERED, root.path, detail=_REPLACED)


def _above(memory: str) -> str:
    """Return a memory's base: the row's own, which is proven like any other."""
    return memory.rpartition("/")[0]


def _is_below(path: str, bases: Iterable[tuple[str, ...]]) -> bool:
    parts = components(path) or ()
    return any(parts[: len(base)] == base for base in bases)


def _ids(root: JailRoot, proven: Root, view: View | None) -> IdMap:
    """Return the map to set owners by: the running jail's, or how its tree is shifted."""
    if view is not None:
        return view.disk
    top = os.fstat(proven.fd)
    found = ids.of_tree(Owner(top.st_uid, top.st_gid)) if root.shifts else ids.SAME
    if found is None:
        detail = f"its root belongs to {top.st_uid}:{top.st_gid}, how it counts is unclear"
        raise Refused(Reason.NOT_RUNNING, root.path, detail=detail)
    return found


def _inside(mapped: IdMap, found: Found) -> Found:
    owner = mapped.inside(Owner(found.uid, found.gid))
    return replace(found, uid=owner.uid, gid=owner.gid)


def _sees_own(view: View, proven: Root, path: Sequence[str]) -> None:
    """Refuse a directory that the jail sees another in place of; it may be there or not yet."""
    try:
        view.sees_directory(proven, path)
    except Refused as refused:
        if refused.reason is Reason.SHADOWED:
            raise


def _check_owner(view: View, parts: Sequence[str], identity: tuple[int, int], owner: Owner) -> None:
    """Ask the jail itself whether it has the file there, and as whose."""
    seen = view.seen_owner(parts, identity)
    if seen != owner:
        detail = f"inside the file is {seen.uid}:{seen.gid}'s, not {owner.uid}:{owner.gid}'s"
        raise Refused(Reason.OWNER, "/".join(parts), detail=detail)
