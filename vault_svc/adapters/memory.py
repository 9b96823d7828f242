"""The port `MemoryRoots`: a tmpfs of its own for each jail, so that none can fill another's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from vault_svc.domain import names
from vault_svc.errors import ColibriError, printable
from vault_svc.hazmat import hostfiles, memory_fs

_UNSAFE: Final = "unsafe_base"
_MODE: Final = 0o700
_LOCK_SECONDS: Final = 30.0


class HostMemory:
    """Memory file systems below a directory of root's."""

    def __init__(self, base: str, size: int) -> None:
        """Take the directory, which is made if its parent is there, and how many bytes each has."""
        self._base = base
        self._size = size

    def path(self, jail: str) -> str:
        """Return the host path of a jail's."""
        return f"{self._base}/{names.jail_name(jail)}"

    def shown(self, jail: str) -> str:
        """Return what an engine is to mount for a jail, "" for one without memory.

        Also where the base is not to be trusted: that is told to those whose secrets stand there.
        """
        if os.geteuid() != 0:
            return ""
        try:
            with hostfiles.directory(self._base, _UNSAFE) as base:
                return self.path(jail) if memory_fs.is_there(base, jail) else ""
        except (ColibriError, OSError):
            return ""

    def have(self, jail: str) -> bool:
        """Mount it unless it is; say whether it is new. Raises `helper_missing`, `unsafe_base`."""
        self.path(jail)
        if sys.platform != "linux" or os.geteuid() != 0:
            raise ColibriError(
                "helper_missing",
                "only root on Linux can mount memory for a jail",
                hint="use --delivery file or files",
            )
        try:
            hostfiles.make_directory(self._base, _UNSAFE, _MODE)
            with self._locked() as base:
                return memory_fs.have(base, jail, self._size)
        except OSError as error:
            raise self._failed(jail, error) from None

    def drop(self, jail: str) -> None:
        """Take it away, if it is there."""
        self.path(jail)
        if os.geteuid() != 0:
            return
        try:
            with self._locked() as base:
                memory_fs.drop(base, jail)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._failed(jail, error) from None

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Hold the base open for one process alone: mounts would be stacked."""
        with (
            hostfiles.directory(self._base, _UNSAFE) as base,
            hostfiles.locked(base, f"'{self._base}'", _LOCK_SECONDS),
        ):
            yield base

    def _failed(self, jail: str, error: OSError) -> ColibriError:
        return ColibriError(
            "helper_missing",
            f"the memory of jail '{jail}' in '{printable(self._base)}' cannot be mounted"
            f" or taken away: {os.strerror(error.errno or 0)}",
            hint="needs Linux 5.2 and the right to mount; or use --delivery file",
        )
