"""The port `Delivery` over hazmat: stable codes, and sentences a person can act on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from copy import copy as twin
from dataclasses import replace
from typing import Final, TypeVar

from vault_svc.domain import ids
from vault_svc.domain.ids import IdMap
from vault_svc.domain.receipt import Found, Owner, Placed
from vault_svc.errors import ColibriError, printable
from vault_svc.hazmat import confine, confine_walk, landlock
from vault_svc.hazmat.confine_error import Reason, Refused, refusal
from vault_svc.hazmat.confine_root import Held, holding, open_root, state_at
from vault_svc.hazmat.confine_walk import Root
from vault_svc.hazmat.jail_view import View, looked_into
from vault_svc.ports.delivery import JailRoot

T = TypeVar("T")
_MAX_SHOWN: Final = 200
_READ_ONLY_HINT: Final = "remount it, or take away the flag or permission, then run again"

# Reason: code, what is wrong with {where} ({detail} and {errno} where known), what to do.
_WORDS: Final[dict[Reason, tuple[str, str, str]]] = {
    Reason.BAD_PATH: (
        "bad_path",
        "'{where}' is not a path colibri writes to",
        "write the canonical path as the jail sees it, for example /home/app/.env",
    ),
    Reason.SYMLINK: (
        "path_not_plain",
        "'{where}' is a symlink{target}; colibri follows none",
        "register the canonical path, without the link",
    ),
    Reason.NOT_A_DIRECTORY: (
        "path_not_plain",
        "'{where}' is not a directory{detail}",
        "register a path whose parents are plain directories",
    ),
    Reason.MISSING: (
        "path_missing",
        "the directory '{where}' does not exist",
        "create it in the jail, or set create_parents",
    ),
    Reason.CROSSES_MOUNT: (
        "crosses_mount",
        "'{where}' is on another mount than the jail's root",
        "deliver to a directory on the jail's own file system",
    ),
    Reason.ESCAPES: (
        "target_escapes_root",
        "'{where}' leads out of the jail",
        "look at what the jail put there",
    ),
    Reason.NOT_REGULAR: (
        "target_not_regular",
        "'{where}' is a directory; colibri never removes one",
        "move the directory away in the jail",
    ),
    Reason.PARENT_POLICY: (
        "unsafe_parent",
        "the directory '{where}' belongs to another user of the jail{detail}",
        "give the directory to the file's owner or to root",
    ),
    Reason.TAMPERED: (
        "tampered",
        "'{where}' was changed while colibri worked on it{detail}",
        "look at what runs in the jail; treat the secrets as known to it",
    ),
    Reason.OWNER: (
        "owner_unmapped",
        "a file cannot be given to the owner{detail}",
        "register an owner that exists for this jail; only root may give files to others",
    ),
    Reason.NO_SPACE: (
        "no_space",
        "no space is left for '{where}'{errno}",
        "free space, inodes or quota, then run again",
    ),
    Reason.READ_ONLY: ("read_only", "'{where}' is on a read-only file system", _READ_ONLY_HINT),
    Reason.DENIED: (
        "read_only",
        "'{where}' may not be changed by colibri: immutable, append-only or no permission{errno}",
        _READ_ONLY_HINT,
    ),
    Reason.EXHAUSTED: ("busy", "the system has no more descriptors or memory{errno}", "run again"),
    Reason.IO: ("read_only", "the file system failed at '{where}'{errno}", "check the disk"),
    Reason.UNTRUSTED_BASE: (
        "unsafe_base",
        "'{where}', above the jail, is not safe{detail}{target}",
        "it must be a real directory of root (or yours) that nobody else may write",
    ),
    Reason.ROOT_MISSING: (
        "path_missing",
        "'{where}', on the way to the jail root, does not exist",
        "create the jail, or mount what it is on",
    ),
    Reason.ROOT_NOT_PLAIN: (
        "jail_root_not_plain",
        "the jail root '{where}' is not a plain directory{detail}{target}",
        "register the directory itself",
    ),
    Reason.ROOT_NOT_ALLOWED: (
        "jail_root_not_allowed",
        "the jail root '{where}' is not allowed{detail}",
        "jail roots lie strictly below a directory of COLIBRI_JAIL_ROOT_BASE",
    ),
    Reason.ROOT_MISMATCH: (
        "jail_root_mismatch",
        "'{where}' is not the directory that was registered{detail}",
        "if the jail was made anew, record it with update-tenant",
    ),
    Reason.SHADOWED: (
        "shadowed",
        "the jail sees something else at '{where}' than the host does{detail}",
        "a mount inside the jail hides it: unmount it there, or register another path",
    ),
    Reason.NOT_RUNNING: (
        "jail_not_running",
        "the jail cannot be looked into{detail}{errno}",
        "colibri jail start, then run again",
    ),
    Reason.NO_OPENAT2: (
        "helper_missing",
        "this kernel has no openat2 (Linux 5.6 and newer have)",
        "use a newer kernel, or accept the portable walk with allow_walk_fallback = true",
    ),
    Reason.OPENAT2_DENIED: (
        "helper_untrusted",
        "something on this host forbids openat2{errno}",
        "allow the call in the service's system call filter",
    ),
}


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
    ) -> None:
        """Take absolute paths, the walk (`auto`, `openat2`, `portable`) and the second layer.

        second_layer: `auto` where the host has one, `require` or `off`. Raises `helper_missing`
        or `helper_untrusted` where no safe walk, or not the required layer, is to be had.
        """
        self._bases = tuple(bases)
        self._held: tuple[Held, ...] = ()
        self._forbidden = (state_at(state_dir),)
        self._create_parents = create_parents
        with _spoken():
            self._walk = confine_walk.choose(walk, allow_fallback=allow_walk_fallback)
        self.no_second_layer = "the setting second_layer turns it off"
        if second_layer != "off":
            self.no_second_layer = landlock.unavailable() or ""
        if second_layer == "require" and self.no_second_layer:
            raise ColibriError(
                "helper_missing",
                f"writes in jails cannot be confined twice: {self.no_second_layer}",
                hint="use Linux 6.2 or newer with Landlock, or second_layer = auto",
            )

    @property
    def walk(self) -> str:
        """The walk in use, for `doctor`."""
        return self._walk.name

    def _guarded(self, root: Root, act: Callable[[], T]) -> T:
        """Do it where nothing but what lies below root can be changed, if this host can."""
        return act() if self.no_second_layer else landlock.within(root.fd, act)

    @contextlib.contextmanager
    def holding(self) -> Iterator[ConfinedDelivery]:
        """Yield a delivery that has proven the bases once, for one batch.

        Jail roots are still opened and proven each time, and the walk after a write begins at
        `/`: a base that was moved meanwhile ends in `tampered`, not in a receipt.
        """
        with holding(self._bases) as held:
            within = twin(self)
            within._held = held  # noqa: SLF001 - a copy of this very object
            yield within

    def prove_root(self, root: JailRoot) -> int:
        """Verify the root and return its inode number; codes as in the port."""
        with _spoken(), self._proven(root) as (proven, _):
            return os.fstat(proven.fd).st_ino

    def inspect(self, root: JailRoot, path: Sequence[str], *, max_bytes: int) -> Found:
        """Return what stands at path; a missing directory on the way is `missing` too."""
        with _spoken():
            parts = confine.checked(path)
            with self._proven(root) as (proven, view):
                found = confine.inspect(proven, parts, max_bytes=max_bytes)
                if found.kind != "file":
                    return found
                if view is not None:
                    view.seen_owner(parts, (found.dev, found.ino))
                owner = _ids(root, proven, view).inside(Owner(found.uid, found.gid))
                return replace(found, uid=owner.uid, gid=owner.gid)

    def place(
        self, root: JailRoot, path: Sequence[str], content: bytes, owner: Owner, mode: int = 0o600
    ) -> Placed:
        """Put content at path as a new inode, durably, read back; codes as in the port."""
        with _spoken():
            parts = confine.checked(path)
            with self._proven(root) as (proven, view):
                outside = _ids(root, proven, view).outside(owner)
                if view is not None:
                    self._sees_parent(view, proven, parts[:-1])
                placed = self._guarded(
                    proven,
                    lambda: confine.place(
                        proven, parts, content, outside, mode, create_parents=self._create_parents
                    ),
                )
                if view is not None:
                    _check_owner(view, parts, placed, owner)
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
        with _spoken():
            parts = confine.checked(path)
            with self._proven(root) as (proven, _):
                confine.settle(proven, parts)

    def remove(self, root: JailRoot, path: Sequence[str]) -> str:
        """Delete what stands at path and temporary files of ours; return its kind."""
        with _spoken():
            parts = confine.checked(path)
            with self._proven(root) as (proven, _):
                kind = self._guarded(proven, lambda: confine.remove(proven, parts))
                self._still_there(root, proven)
        return kind

    @contextlib.contextmanager
    def _proven(
        self, root: JailRoot, *, afresh: bool = False
    ) -> Iterator[tuple[Root, View | None]]:
        """Hold a descriptor of the verified root; afresh: from `/`, whatever base is held."""
        with contextlib.ExitStack() as held:
            proven = open_root(
                root.path,
                bases=self._bases,
                forbidden=self._forbidden,
                ino=root.ino,
                walk=self._walk,
                held=() if afresh else self._held,
            )
            held.callback(os.close, proven.fd)
            view = None
            if root.pid is not None:
                view = held.enter_context(looked_into(root.pid, root.inside, self._walk))
                view.prove(proven)
            yield proven, view
            if view is not None:
                view.prove_alive()

    def _still_there(self, root: JailRoot, proven: Root) -> None:
        """Refuse success if the root's path leads elsewhere by now (a jail moved or remade)."""
        now = replace(root, ino=os.fstat(proven.fd).st_ino)
        try:
            with self._proven(now, afresh=True) as (again, _):
                moved = again.mount != proven.mount
        except Refused:
            moved = True
        if moved:
            raise Refused(Reason.TAMPERED, root.path, detail="the jail root was replaced")


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


def _check_owner(view: View, parts: Sequence[str], placed: Placed, owner: Owner) -> None:
    """Ask the jail itself whether it has the file there, and as whose."""
    seen = view.seen_owner(parts, (placed.dev, placed.ino))
    if seen != owner:
        detail = f"inside the file is {seen.uid}:{seen.gid}'s, not {owner.uid}:{owner.gid}'s"
        raise Refused(Reason.OWNER, "/".join(parts), detail=detail)


@contextlib.contextmanager
def _spoken() -> Iterator[None]:
    """Turn a refusal of the lower layer into a ColibriError."""
    try:
        yield
    except Refused as refused:
        raise _error(refused) from None
    except OSError as error:  # a disk that fails where no walk expects it: this tenant's alone
        raise _error(refusal(error, "")) from None


def _error(refused: Refused) -> ColibriError:
    """Compose code, message and hint; names and link targets come from the tenant, so escaped."""
    code, text, hint = _WORDS[refused.reason]
    message = text.format(
        where=_shown("/" + refused.component.removeprefix("/")),
        target=f" to '{_shown(refused.target)}'" if refused.target else "",
        detail=f" ({_shown(refused.detail)})" if refused.detail else "",
        errno=f" ({os.strerror(refused.errno)})" if refused.errno else "",
    )
    return ColibriError(code, message, hint=hint)


def _shown(text: str) -> str:
    """Return tenant-made text for a message: escaped, and bounded."""
    return printable(text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…")
