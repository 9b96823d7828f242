"""Tenant locks in one file: a byte for each tenant, at an offset that its id decides."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from vault_svc.errors import ColibriError
from vault_svc.hazmat.rangelock import RangeLocks

_FIRST_PAUSE: Final = 0.001
_LONGEST_PAUSE: Final = 0.05


class FileLocks:
    """TenantLocks for every process of this host that names the same file."""

    def __init__(self, path: str, *, timeout_seconds: float) -> None:
        """Take the lock file and how long to wait for a tenant."""
        self._locks = RangeLocks(path, "busy")
        self._path = path
        self._timeout_seconds = timeout_seconds

    @contextmanager
    def hold(
        self, tenant_id: str, *, wait: bool = True, until: float | None = None
    ) -> Iterator[None]:
        """Hold a tenant's lock; raise `busy` when another process keeps it past the limit."""
        offset = lock_offset(tenant_id)
        deadline = time.monotonic() + (self._timeout_seconds if wait else 0.0)
        deadline = deadline if until is None else min(deadline, until)
        pause = _FIRST_PAUSE
        while (token := self._acquire(offset)) is None:
            if time.monotonic() >= deadline:
                raise ColibriError(
                    "busy",
                    f"another process is at work on tenant '{tenant_id}'",
                    hint="let it finish, then run it again",
                    tenant=tenant_id,
                )
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        try:
            yield
        finally:
            self._locks.release(token)

    def _acquire(self, offset: int) -> int | None:
        try:
            return self._locks.acquire(offset)
        except OSError as error:
            raise ColibriError(
                "read_only",
                f"the lock file '{self._path}' cannot be opened: {error.strerror}",
                hint="check the data directory; is colibri initialised here?",
            ) from None


def lock_offset(tenant_id: str) -> int:
    """Return a tenant's byte: 62 bits of SHA-256, so that no two tenants meet in practice."""
    return int.from_bytes(hashlib.sha256(tenant_id.encode()).digest()[:8], "big") >> 2
