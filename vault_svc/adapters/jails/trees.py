"""Jails that are trees below a base: `<base>/<name>/root`, and bookkeeping beside it."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, MutableSequence, Sequence
from contextlib import ExitStack, contextmanager, suppress
from copy import copy as twin
from dataclasses import dataclass
from typing import Final

from vault_svc.domain import names
from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError, printable
from vault_svc.hazmat import hostfiles, trees
from vault_svc.hazmat.trees import Directory
from vault_svc.ports.clock import Clock
from vault_svc.ports.jail_engine import JailInfo, PartListError

_RECORD: Final = "jail.json"
_ROOT: Final = "root"
_NEW: Final = ".new-"
_UNSAFE: Final = "unsafe_base"
_MAX_RECORD_BYTES: Final = 4096

Plan = Callable[[Owner], Sequence[Directory]]


@dataclass(frozen=True, slots=True)
class Record:
    """What `jail.json` says: which engine made the jail, for whom, when."""

    engine: str
    owner: Owner
    created_at: str

    def encode(self) -> bytes:
        """Return the file's bytes."""
        whole = {
            "engine": self.engine,
            "owner_uid": self.owner.uid,
            "owner_gid": self.owner.gid,
            "created_at": self.created_at,
        }
        return json.dumps(whole).encode() + b"\n"


class JailTrees:
    """One engine's jails in the allowed bases; a name is taken across engines and bases.

    A jail appears whole (built aside, then renamed) and its record goes last, so that a crash
    leaves either no jail or one that can be destroyed again.
    """

    def __init__(
        self,
        engine: str,
        bases: Sequence[str],
        plan: Plan,
        clock: Clock,
        *,
        lock_timeout_seconds: float = 10.0,
    ) -> None:
        """Take the engine's name, the bases (new jails go to the first) and what a tree holds."""
        self._engine = engine
        self._bases = tuple(base.rstrip("/") or "/" for base in bases)
        self._plan = plan
        self._clock = clock
        self._lock_timeout_seconds = lock_timeout_seconds
        self._held: Mapping[str, int] = {}

    def create(self, name: str, owner: Owner) -> JailInfo:
        """Make the tree; raise `jail_taken`, `jail_name_refused`, `owner_unmapped`."""
        names.jail_name(name)
        if os.geteuid() != 0 and (owner.uid, owner.gid) != (os.geteuid(), os.getegid()):
            raise ColibriError(
                "owner_unmapped", "an ordinary user makes jails for itself only", hint="run as root"
            )
        if not self._bases:
            raise ColibriError(
                "jail_root_not_allowed",
                "no base is set for jails that colibri makes itself",
                hint="add a directory to COLIBRI_JAIL_ROOT_BASE",
            )
        base = self._bases[0]
        for known in self._bases:
            with self._base(known) as parent:
                if parent is not None and self._record(parent, name) is not None:
                    raise _taken(name, known)
        try:
            hostfiles.make_directory(base, _UNSAFE)
            with hostfiles.directory(base, _UNSAFE) as parent:
                self._create_in(parent, base, name, owner)
        except FileNotFoundError:
            raise ColibriError(
                "path_missing", f"the directory of the base '{printable(base)}' does not exist"
            ) from None
        except OSError as error:
            raise hostfiles.explain(error, _UNSAFE, f"{base}/{name}") from error
        return self._info(base, name)

    def _create_in(self, parent: int, base: str, name: str, owner: Owner) -> None:
        with hostfiles.locked(parent, f"the jails in '{base}'", self._lock_timeout_seconds):
            for left in trees.entries(parent):
                if left.startswith(_NEW):
                    trees.delete_tree(parent, left, f"{base}/{left}")
            aside = f"{_NEW}{name}-{secrets.token_hex(8)}"
            record = Record(self._engine, owner, self._clock.now())
            trees.make_tree(parent, [Directory(aside, 0o700)])
            with _subdirectory(parent, aside) as made:
                if made is not None:
                    trees.make_tree(made, self._plan(owner))
                    hostfiles.replace_at(made, _RECORD, record.encode())
            if not trees.publish(parent, aside, name):
                trees.delete_tree(parent, aside, f"{base}/{aside}")
                raise _taken(name, base)

    def destroy(self, name: str) -> None:
        """Delete the tree; raise `jail_not_found`, `crosses_mount`, `tampered` or `busy`."""
        what = f"the jail '{name}'"
        with self._found(name) as (base, parent, jail):
            with hostfiles.locked(jail, what, self._lock_timeout_seconds):
                if self._record(parent, name) is None:
                    raise _not_found(name)  # somebody else has just finished
                trees.delete_tree(jail, _ROOT, f"{base}/{name}/{_ROOT}")
                hostfiles.sweep_at(jail)
                hostfiles.remove_at(jail, _RECORD)
            try:
                trees.remove_empty(parent, name)
            except OSError as error:
                raise hostfiles.explain(error, "tampered", f"{base}/{name}") from error

    def list(self) -> list[JailInfo]:
        """Return this engine's jails, sorted by name; raise PartListError if some are hidden."""
        found: list[JailInfo] = []
        failed: list[ColibriError] = []
        for base in self._bases:
            try:
                found += self._listed(base, failed)
            except ColibriError as error:  # of no concern to jails that lie elsewhere
                failed.append(error)
        found.sort(key=lambda info: (info.name, info.root))
        if failed:
            raise PartListError(failed[0], found)
        return found

    def _listed(self, base: str, failed: MutableSequence[ColibriError]) -> Iterator[JailInfo]:
        with self._base(base) as parent:
            if parent is None:
                return
            for name in filter(names.is_jail_name, trees.entries(parent)):
                try:
                    record = self._record(parent, name)
                except ColibriError as error:
                    failed.append(error)
                    continue
                if record is not None and record.engine == self._engine:
                    yield self._info(base, name)

    @contextmanager
    def holding(self) -> Iterator[JailTrees]:
        """Yield the same jails below bases that are walked to once; unsafe ones are not held."""
        with ExitStack() as stack:
            within, found = twin(self), dict[str, int]()
            for base in self._bases:
                with suppress(ColibriError):
                    fd = stack.enter_context(self._base(base))
                    found |= {} if fd is None else {base: fd}
            within._held = found  # noqa: SLF001 - a copy of this very object
            yield within

    def must_have(self, name: str) -> None:
        """Raise `jail_not_found` unless it is there, if only what a killed destroy left of it."""
        with self._found(name):
            return

    def root_of(self, name: str) -> str:
        """Return the root's host path; raise `jail_not_found` or `jail_root_not_plain`."""
        with self.opened(name) as (path, _):
            return path

    @contextmanager
    def opened(self, name: str) -> Iterator[tuple[str, int]]:
        """Hold a jail's root open: its host path and a descriptor of it."""
        with self._found(name) as (base, _, jail), _subdirectory(jail, _ROOT) as root:
            path = f"{base}/{name}/{_ROOT}"
            if root is None:
                raise ColibriError(
                    "jail_root_not_plain",
                    f"'{path}' is no plain directory",
                    hint="mount it, or make it anew and record it with update-tenant --jail",
                )
            yield path, root

    def plain_parts(self, name: str, wanted: Sequence[str]) -> tuple[str, ...]:
        """Return those of the wanted directories in a jail's root that are plain ones."""
        found = []
        with self.opened(name) as (_, root):
            for part in wanted:
                with _subdirectory(root, part) as fd:
                    if fd is not None:
                        found.append(part)
        return tuple(found)

    def _info(self, base: str, name: str) -> JailInfo:
        return JailInfo(name, f"{base}/{name}/{_ROOT}", self._engine)

    @contextmanager
    def _found(self, name: str) -> Iterator[tuple[str, int, int]]:
        """Hold open a jail of this engine: its base, the base's and the jail's descriptor."""
        names.jail_name(name)
        unsafe: ColibriError | None = None
        with ExitStack() as held:
            for base in self._bases:
                try:
                    parent = held.enter_context(self._base(base))
                except ColibriError as error:  # of no concern to jails that lie elsewhere
                    unsafe = unsafe or error
                    continue
                if parent is None:
                    continue
                jail = held.enter_context(_subdirectory(parent, name))
                record = None if jail is None else _record_in(jail, name)
                if jail is not None and record is not None and record.engine == self._engine:
                    yield base, parent, jail
                    return
            raise unsafe or _not_found(name)

    @contextmanager
    def _base(self, base: str) -> Iterator[int | None]:
        if base in self._held:
            yield self._held[base]
            return
        try:
            parent = hostfiles.open_directory(base, _UNSAFE)
        except FileNotFoundError:
            yield None
            return
        try:
            yield parent
        finally:
            os.close(parent)

    def _record(self, parent: int, name: str) -> Record | None:
        """Return what stands in a jail's record, of whichever engine; None if there is no jail."""
        with _subdirectory(parent, name) as jail:
            return None if jail is None else _record_in(jail, name)


def _record_in(jail: int, name: str) -> Record | None:
    try:
        found = hostfiles.read_at(jail, _RECORD, "tampered", max_bytes=_MAX_RECORD_BYTES)
    except FileNotFoundError:
        return None
    return _decoded(found, name)


@contextmanager
def _subdirectory(parent: int, name: str) -> Iterator[int | None]:
    fd = trees.subdirectory(parent, name)
    try:
        yield fd
    finally:
        if fd is not None:
            os.close(fd)


def _decoded(found: bytes, name: str) -> Record:
    try:
        whole = json.loads(found)
        owner = Owner(int(whole["owner_uid"]), int(whole["owner_gid"]))
        return Record(str(whole["engine"]), owner, str(whole["created_at"]))
    except (ValueError, TypeError, KeyError):
        raise ColibriError(
            "tampered", f"the record of jail '{name}' cannot be read", hint=f"look at its {_RECORD}"
        ) from None


def _taken(name: str, base: str) -> ColibriError:
    return ColibriError(
        "jail_taken", f"'{printable(base)}' has a '{name}' already", hint="choose another name"
    )


def _not_found(name: str) -> ColibriError:
    return ColibriError("jail_not_found", f"there is no jail '{name}'", hint="colibri jail list")
