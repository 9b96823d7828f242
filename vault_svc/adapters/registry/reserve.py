"""Space beside the registry that only removals may use (decision 14); standard library only.

Without it a full disk would keep a revoked tenant's row `active`, and the next run would deliver
again. Even reading needs some: SQLite's write-ahead log has an index file.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVar

from vault_svc.adapters.registry import faults
from vault_svc.errors import ColibriError
from vault_svc.hazmat.ballast import Ballast

RESERVE_BYTES: Final = 1024 * 1024
_T = TypeVar("_T")


class Reserve:
    """The registry's ballast; a registry on a server has none."""

    def __init__(self, path: str | None, size: int) -> None:
        """Take the registry's file, None for a server, and the size in bytes, 0 for none."""
        self._path = path or ""
        self._ballast = (
            Ballast(f"{path}-reserve", size, "registry_corrupt") if path and size else None
        )

    def keep(self) -> None:
        """Make the reserve whole before something adds; raise `no_space` where it can't be."""
        if self._ballast is None:
            return
        try:
            self._ballast.fill()
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise faults.no_space(self._path) from None
            raise ColibriError(
                "read_only",
                f"the registry's reserve '{self._path}-reserve': {error.strerror}",
                hint="check the data directory",
            ) from None

    def spend(self, act: Callable[[], _T]) -> _T:
        """Act; on a full disk give the reserve up and act once more."""
        try:
            return act()
        except ColibriError as error:
            self._give_up(error)
        return act()

    def lend(self, act: Callable[[], _T]) -> _T:
        """Act as spend does, then take back what that did not need: a look is no removal."""
        try:
            return act()
        except ColibriError as error:
            self._give_up(error)
        try:
            return act()
        finally:
            with suppress(ColibriError):  # as much of it as there is room for
                self.keep()

    def _give_up(self, error: ColibriError) -> None:
        if error.code != "no_space" or not (self._ballast and self._ballast.release()):
            raise error
