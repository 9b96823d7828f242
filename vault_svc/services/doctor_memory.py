"""What doctor says of secrets in memory: is it there, of the right kind, and away from disks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vault_svc.domain import delivered
from vault_svc.domain.check import Check
from vault_svc.domain.tenant import Status, Tenant
from vault_svc.errors import ColibriError
from vault_svc.ports.memory_roots import MemorySeen
from vault_svc.services.context import Context

_SWAP = "memory and swap"


@dataclass(frozen=True, slots=True)
class MemoryDoctor:
    """Looks at the memory of this host's tenants that have some; changes nothing."""

    context: Context

    def examine(self, rows: Sequence[Tenant]) -> Iterator[Check]:
        """Yield the checks; none where nobody's secrets stand in memory."""
        rows = [
            row
            for row in rows
            if delivered.in_memory(row.delivery) and row.status is not Status.OFFBOARDED
        ]
        if not rows:
            return
        yield self._base()
        seen: list[MemorySeen] = []
        for row in rows:
            yield from self._tenant(row, seen)
        yield self._swap(seen)

    def _base(self) -> Check:
        name, base = "memory base", self.context.memory.base
        try:
            if self.context.memory.is_fit(base):
                return Check(name, "ok", f"'{base}' is root's alone")
        except ColibriError as error:
            return Check(name, "fail", error.message, error.hint, error.code)
        return Check(name, "ok", f"'{base}' is not there yet; the next delivery makes it")

    def _tenant(self, row: Tenant, seen: list[MemorySeen]) -> Iterator[Check]:
        name, root = f"memory of {row.tenant_id}", self.context.memory_of(row)
        try:
            found = self.context.memory.look(root)
        except ColibriError as error:
            yield Check(name, "fail", error.message, error.hint, error.code)
        else:
            seen += [found] * (found.kind == "memory")
            yield Check(name, *self._judged(row, root, found))
        yield from self._elsewhere(row, root)

    def _judged(
        self, row: Tenant, root: str, found: MemorySeen
    ) -> tuple[str, str] | tuple[str, str, str] | tuple[str, str, str, str]:
        if found.kind == "missing":
            return self._missing(row, root)
        if found.kind != "memory":
            hint = f"umount {root}, then colibri provision {row.tenant_id}"
            return "fail", f"what is mounted at '{root}' is no memory", hint, "path_missing"
        size = self.context.settings.memory_bytes
        if not found.whole:
            words = f"'{root}' holds {found.size} bytes, memory_bytes is {size}"
            return "warn", words, f"mount -o remount,size={size} {root}"
        return "ok", f"'{root}', {found.size} bytes"

    def _missing(self, row: Tenant, root: str) -> tuple[str, str] | tuple[str, str, str]:
        if row.status is Status.SUSPENDED:
            return "ok", "not mounted; the tenant is suspended"
        if not self._has_jail(row):
            return "ok", "not mounted; the tenant has no jail now"
        return "warn", f"nothing is mounted at '{root}'", f"colibri provision {row.tenant_id}"

    def _has_jail(self, row: Tenant) -> bool:
        """Say whether an ephemeral jail is there now; in doubt it is."""
        if row.root_ino is not None:
            return True
        try:
            return any(info.name == row.jail for info in self.context.engine(row.engine).list())
        except ColibriError:
            return True

    def _elsewhere(self, row: Tenant, root: str) -> Iterator[Check]:
        """Tell of memory that is not where new memory is made: `memory_base` was changed."""
        name, base = f"memory base of {row.tenant_id}", self.context.memory.base
        move = f"colibri update-tenant {row.tenant_id} --delivery {row.delivery}"
        if not delivered.memory_of(row):
            seen = f"its row does not say where its memory is, taken to be '{root}'"
            yield Check(name, "warn", seen, move)
        elif root != self.context.memory.path(row.jail):
            seen = f"its memory is '{root}', not below memory_base '{base}'"
            hint = f"set memory_base back, or {move}, and let the jail mount the new place"
            yield Check(name, "warn", seen, hint)

    def _swap(self, seen: Sequence[MemorySeen]) -> Check:
        exposed, swaps = sum(each.swaps for each in seen), self.context.memory.swaps()
        if not swaps:
            return Check(_SWAP, "ok", "this host has no swap on")
        if seen and not exposed:
            return Check(_SWAP, "ok", "swap is on; the kernel keeps this memory out of it")
        where = ", ".join(swaps)
        if not seen:
            return Check(_SWAP, "ok", f"swap is on ({where}); nothing is mounted that it could get")
        return Check(
            _SWAP,
            "warn",
            f"swap is on ({where}), and {exposed} of {len(seen)} memories may be written to it",
            "swapoff, or encrypt it; from Linux 6.4 on colibri mounts with noswap",
        )
