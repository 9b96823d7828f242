"""The spawner hook: a jail was just made, its tenant's secrets belong in it before it runs.

Nothing here asks an engine: inside a hook its program may hold a lock until we answer (decision 8).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from vault_svc.domain import names, oci
from vault_svc.domain.audit import Event
from vault_svc.domain.plan import Outcome
from vault_svc.domain.tenant import Tenant
from vault_svc.errors import ColibriError
from vault_svc.ports.delivery import JailRoot
from vault_svc.ports.host_files import HostFiles
from vault_svc.services.batch import Options
from vault_svc.services.context import Context
from vault_svc.services.provision import Provisioner


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
    """Answers the spawner; everything is delivered by the same code as by `provision`."""

    context: Context
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

    def run(self, spawned: Spawned) -> Outcome:
        """Deliver into the jail; raise `no_tenant_for_jail`, or whatever forbids its start."""
        row = self._row(spawned)
        root = JailRoot(spawned.root, pid=spawned.pid, inside=spawned.inside)
        said = replace(self.context, announced={spawned.jail: root})
        try:
            if not row.jail_root:
                self._refuse_others(row, root)
            return Provisioner(said).one(row.tenant_id, Options())
        except ColibriError as error:
            raise error.for_tenant(row.tenant_id) from None

    def _refuse_others(self, row: Tenant, root: JailRoot) -> None:
        """Refuse a root that meets another tenant's: where roots are not stable, no row says so."""
        for other in self.context.registry.roots_around(row.host, root.path):
            if other.tenant_id != row.tenant_id:
                raise ColibriError(
                    "jail_nested",
                    f"the root '{root.path}' meets the jail of tenant '{other.tenant_id}'",
                    hint="give each tenant a jail of its own",
                )

    def carry_on(self, spawned: Spawned, error: ColibriError) -> None:
        """Record that the jail starts although its delivery failed: the operator's choice."""
        detail = {"jail": spawned.jail, "code": error.code}
        self.context.record(Event.STARTED_REGARDLESS, error.tenant, **detail)

    def _row(self, spawned: Spawned) -> Tenant:
        host = self.context.settings.host
        row = self.context.registry.by_jail(host, names.jail_name(spawned.jail))
        if row is None:
            raise ColibriError(
                "no_tenant_for_jail",
                f"no tenant of host '{host}' has the jail '{spawned.jail}'",
                hint=f"colibri register-tenant TENANT --jail {spawned.jail}",
            )
        return row
