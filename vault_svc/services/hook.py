"""The spawner hook: a jail was just made, its tenant's secrets belong in it before it runs.

Nothing here asks an engine: inside a hook its program may hold a lock until we answer (decision 8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from vault_svc.domain import names, oci
from vault_svc.domain.tenant import Tenant
from vault_svc.errors import ColibriError

if TYPE_CHECKING:  # most hooks are answered by another's delivery, and need none of it
    from vault_svc.domain.plan import Outcome
    from vault_svc.ports.delivery import JailRoot
    from vault_svc.ports.host_files import HostFiles
    from vault_svc.ports.registry import TenantReader
    from vault_svc.services.context import Context


_LONGEST: Final = 4095
"""Bytes of a path that the kernel takes (PATH_MAX, limits.h)."""

Numbered: TypeAlias = "tuple[int, Outcome | ColibriError]"


@dataclass(frozen=True, slots=True)
class Spawned:
    """A jail as its spawner announces it: exact name, and its root's absolute path on the host.

    pid: its first process, where it has one already; inside: where that one has the jail's root.
    """

    jail: str
    root: str
    pid: int | None = None
    inside: str = "/"


@dataclass(frozen=True, slots=True)
class Hook:
    """Answers spawners; everything is delivered by the same code as by `provision`.

    context is built only by the hook that delivers.
    """

    context: Callable[[], Context]
    registry: TenantReader
    host: str
    files: HostFiles

    def oci(self, said: bytes) -> Spawned | None:
        """Read an OCI state; None for a container that names no jail.

        The container has not pivoted: its first process has the root where the host has it.
        """
        state = oci.state(said)
        if state.jail is None:
            return None
        config = self.files.read(f"{state.bundle}/config.json", container=state.pid)
        if config is None:
            raise ColibriError(
                "usage",
                "the bundle has no config.json",
                hint="a runtime makes it before it calls its hooks",
            )
        root = oci.root_path(config, state)
        return Spawned(names.jail_name(state.jail), root, state.pid, inside=root)

    def source_of(self, spawned: Spawned) -> str:
        """Return where the jail's secrets come from; raise `no_tenant_for_jail`."""
        return self._row(spawned).source

    def each(self, spawned: Sequence[Spawned]) -> Iterator[Numbered | None]:
        """Deliver into jails that wait for the same source, with one session of it.

        Yields for each, by its number, what came of it, or what forbids its start, as soon as that
        is known; None when only those are left that wait for another's lock. A jail that is
        announced twice is delivered to twice, one after the other.
        """
        left = dict(enumerate(spawned))
        while left:
            now: dict[str, tuple[int, Spawned]] = {}
            for number, one in list(left.items()):
                try:
                    tenant_id = self._allowed(one)
                except ColibriError as error:
                    del left[number]
                    yield number, error
                else:
                    if tenant_id not in now:
                        now[tenant_id] = number, left.pop(number)
            yield from self._delivered(now)

    def _allowed(self, spawned: Spawned) -> str:
        """Return the tenant that may be delivered to; raise what forbids it."""
        row = self._row(spawned)
        if not row.jail_root:
            self._refuse_others(row, spawned.root)
        return row.tenant_id

    def _delivered(self, work: dict[str, tuple[int, Spawned]]) -> Iterator[Numbered | None]:
        from vault_svc.ports.delivery import JailRoot
        from vault_svc.services.job import Options
        from vault_svc.services.provision import Provisioner

        roots: dict[str, JailRoot] = {
            each.jail: JailRoot(each.root, pid=each.pid, inside=each.inside)
            for _, each in work.values()
        }
        provisioner = Provisioner(replace(self.context(), announced=roots))
        left = {tenant_id: number for tenant_id, (number, _) in work.items()}
        try:
            for outcome in provisioner.several(list(work), Options(reload=False), wait=False):
                if not (outcome.error and outcome.error.code == "busy"):
                    yield left.pop(outcome.tenant_id), outcome.error or outcome
            if left:
                yield None
                for outcome in provisioner.several(list(left), Options(reload=False)):
                    yield left.pop(outcome.tenant_id), outcome.error or outcome
        except ColibriError as error:  # the registry: whoever has no outcome has this
            late = error
        else:
            late = ColibriError("internal", "the delivery has no outcome", hint="run it again")
        for tenant_id, number in left.items():
            yield number, late.for_tenant(tenant_id)

    def _refuse_others(self, row: Tenant, root: str) -> None:
        """Refuse a root that meets another tenant's: where roots are not stable, no row says so."""
        for other in self.registry.roots_around(row.host, root):
            if other.tenant_id != row.tenant_id:
                raise ColibriError(
                    "jail_nested",
                    f"the root '{root}' meets the jail of tenant '{other.tenant_id}'",
                    hint="give each tenant a jail of its own",
                    tenant=row.tenant_id,
                )

    def carry_on(self, spawned: Spawned, error: ColibriError) -> None:
        """Record that the jail starts although its delivery failed: the operator's choice."""
        from vault_svc.domain.audit import Event

        detail = {"jail": spawned.jail, "code": error.code}
        self.context().record(Event.STARTED_REGARDLESS, error.tenant, **detail)

    def _row(self, spawned: Spawned) -> Tenant:
        host = self.host
        row = self.registry.by_jail(host, names.jail_name(spawned.jail))
        if row is None:
            raise ColibriError(
                "no_tenant_for_jail",
                f"no tenant of host '{host}' has the jail '{spawned.jail}'",
                hint=f"colibri register-tenant TENANT --jail {spawned.jail}",
            )
        if not _is_path(spawned.root):
            raise ColibriError(
                "jail_root_mismatch",
                f"the root that is named for jail '{spawned.jail}' can be no path of this host",
                hint="name the root as the host has it",
                tenant=row.tenant_id,
            )
        return row


def _is_path(text: str) -> bool:
    """Say whether a registry can be asked for it: bytes that are no text come as surrogates."""
    try:
        return len(text.encode()) <= _LONGEST
    except UnicodeEncodeError:
        return False
