"""The port `MemoryRoots`: a tmpfs of its own for each jail, so that none can fill another's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from vault_svc.domain import names
from vault_svc.errors import ColibriError, printable
from vault_svc.hazmat import hostfiles, memory_fs, memory_look
from vault_svc.ports.memory_roots import MemorySeen

_UNSAFE: Final = "unsafe_base"
_MODE: Final = 0o700
_LOCK_SECONDS: Final = 30.0


class HostMemory:
    """Memory file systems below a directory of root's."""

    def __init__(self, base: str, size: int) -> None:
        """Take the directory, which is made if its parent is there, and how many bytes each has."""
        self._base = base
        self._size = size

    @property
    def base(self) -> str:
        """The directory in which new ones are made."""
        return self._base

    def path(self, jail: str) -> str:
        """Return the host path that a jail's gets."""
        return f"{self._base}/{names.jail_name(jail)}"

    def shown(self, root: str) -> str:
        """Return what an engine is to mount for a jail: root, or "" where no memory is there.

        Also where the base is not to be trusted: that is told to those whose secrets stand there.
        """
        base, jail = _parts(root)
        if os.geteuid() != 0:
            return ""
        try:
            with hostfiles.directory(base, _UNSAFE) as held:
                return root if memory_fs.is_there(held, jail) else ""
        except (ColibriError, OSError):
            return ""

    def have(self, root: str) -> bool:
        """Mount it unless it is; say whether it is new. Raises `helper_missing`, `unsafe_base`."""
        base, jail = _parts(root)
        if sys.platform != "linux" or os.geteuid() != 0:
            raise ColibriError(
                "helper_missing",
                "only root on Linux can mount memory for a jail",
                hint="use --delivery file or files",
            )
        try:
            hostfiles.make_directory(base, _UNSAFE, _MODE)
            with _locked(base) as held:
                return memory_fs.have(held, jail, self._size)
        except OSError as error:
            raise _failed(root, error) from None

    def is_fit(self, base: str) -> bool:
        """Say whether a base is there; raise `unsafe_base`."""
        try:
            with hostfiles.directory(base, _UNSAFE):
                return True
        except FileNotFoundError:
            return False

    def look(self, root: str) -> MemorySeen:
        """Return what is mounted there; raise `unsafe_base`."""
        base, jail = _parts(root)
        try:
            with hostfiles.directory(base, _UNSAFE) as held:
                found = memory_look.look(held, jail)
        except FileNotFoundError:
            found = None
        except OSError as error:
            raise hostfiles.explain(error, _UNSAFE, root) from error
        if found is None:
            return MemorySeen("missing")
        page = os.sysconf("SC_PAGE_SIZE")
        whole = found.size == -(-self._size // page) * page
        return MemorySeen("memory" if found.memory else "other", found.swaps, found.size, whole)

    def swaps(self) -> tuple[str, ...]:
        """Return what this host swaps to; nothing where it does not tell."""
        try:
            return memory_look.swaps_in_use()
        except OSError:
            return ()

    def drop(self, root: str) -> None:
        """Take it away, if it is there."""
        base, jail = _parts(root)
        if os.geteuid() != 0:
            return
        try:
            with _locked(base) as held:
                memory_fs.drop(held, jail)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _failed(root, error) from None


def _parts(root: str) -> tuple[str, str]:
    """Return base and jail of a root; raise `jail_name_refused`."""
    base, _, jail = root.rpartition("/")
    return base, names.jail_name(jail)


@contextmanager
def _locked(base: str) -> Iterator[int]:
    """Hold a base open for one process alone: mounts would be stacked."""
    with (
        hostfiles.directory(base, _UNSAFE) as held,
        hostfiles.locked(held, f"'{base}'", _LOCK_SECONDS),
    ):
        yield held


def _failed(root: str, error: OSError) -> ColibriError:
    return ColibriError(
        "helper_missing",
        f"the jail's memory '{printable(root)}' cannot be mounted or taken away:"
        f" {os.strerror(error.errno or 0)}",
        hint="needs Linux 5.2 and the right to mount; or use --delivery file",
    )
