"""The confined write: the only way into a jail's tree."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from vault_svc.domain.receipt import Found, Owner, Placed
from vault_svc.errors import ColibriError


@dataclass(frozen=True, slots=True)
class JailRoot:
    """A jail root to be proven: absolute path, and the inode it had when it was registered.

    ino is None where nothing is registered yet. pid is the host's number of the jail's first
    process, None while it has none: with it the root is proven to be the jail's own, owners are
    translated by the jail's id map, and a file the jail would not see is `shadowed`. inside is
    where that process has the jail's root: elsewhere than `/` until it has pivoted (decision 8).
    shifts says that the jail may count ids by a map of its own. mount: where the jail has this
    root as a file system of its own; path is then the memory's, not that of the jail's tree.
    """

    path: str
    ino: int | None = None
    pid: int | None = None
    inside: str = "/"
    shifts: bool = False
    mount: str = ""


class Delivery(Protocol):
    """Writes, reads and deletes files beneath a verified root, through descriptors only.

    path is the tuple of components from `domain.paths.jail_path`. Every method walks from `/`
    through the allowed base to the root, refusing what decisions 5 and 6 refuse, and raises
    the codes of `contracts.md` (`unsafe_base`, `jail_root_not_allowed`, `jail_root_not_plain`,
    `jail_root_mismatch`, `path_missing`, `path_not_plain`, `crosses_mount`, `unsafe_parent`,
    `target_not_regular`, `tampered`, `no_space`, `read_only`, …). Owners are as the jail counts.
    """

    def holding(self) -> AbstractContextManager[Delivery]:
        """Return a Delivery that proves what lies above the jail roots once, for one batch.

        What is written through it counts only once `astray` has been asked.
        """
        ...

    def astray(self, roots: Collection[JailRoot]) -> dict[str, ColibriError]:
        """Return by path those of roots that do not lead where they did when they were held."""
        ...

    def prove_root(self, root: JailRoot) -> int:
        """Verify the root and return its inode number."""
        ...

    def inspect(self, root: JailRoot, path: Sequence[str], *, max_bytes: int) -> Found:
        """Return what stands at path without opening anything but a regular file.

        A missing directory on the way is kind `missing`; a missing jail root is `path_missing`.
        """
        ...

    def place(
        self, root: JailRoot, path: Sequence[str], content: bytes, owner: Owner, mode: int = 0o600
    ) -> Placed:
        """Put content there as a new inode with owner and mode, durably, and read it back.

        Raises `shadowed` where the jail sees another directory or file there. Also removes stale
        temporary files of ours that a crash left beside the target.
        """
        ...

    def settle(self, root: JailRoot, path: Sequence[str]) -> None:
        """Make what stands at path, and its name, durable before it is recorded as delivered.

        For a file that a crash left whole but perhaps not yet on the disk.
        """
        ...

    def remove(self, root: JailRoot, path: Sequence[str]) -> str:
        """Delete what stands at path, and stale temporary files of ours; return its kind.

        Returns `missing`, `file`, `symlink`, `fifo`, `socket`, `char device` or
        `block device`; a directory is refused (`target_not_regular`). A missing parent
        directory is `missing`. Durable when it returns.
        """
        ...

    def inspect_files(
        self, root: JailRoot, path: Sequence[str], names: Collection[str], *, max_bytes: int
    ) -> Found:
        """Return what stands at path and, where that is a directory, at names in it.

        Other names in it are the tenant's. max_bytes is for all files together.
        """
        ...

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
        """Put contents there, each by name a new inode as in place, and delete stale names.

        A file that is as wanted is left as it is. The directory is made, 0700 and the owner's,
        where there is none; what else stands at path is displaced. Raises `unsafe_parent` for a
        directory that others of the jail may write, and before any change `target_not_regular`
        for a directory at one of the names.
        """
        ...

    def settle_files(self, root: JailRoot, path: Sequence[str], names: Collection[str]) -> None:
        """Make what stands at names in path durable, as settle."""
        ...

    def remove_files(self, root: JailRoot, path: Sequence[str], names: Collection[str]) -> str:
        """Delete what stands at names in path, then the directory if nothing else is in it.

        Returns `files`, `missing`, or the kind of what stood in the directory's place and was
        deleted. A directory at one of the names is refused when all others are gone.
        """
        ...
