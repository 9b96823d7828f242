"""Spawn: a tenant's jail, its secrets in it, then a command in it; and an end to all of that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Final

from vault_svc.domain.audit import Event
from vault_svc.domain.delivered import is_set
from vault_svc.domain.dotenv_profiles import READ_BY_SH
from vault_svc.domain.receipt import Owner, Receipt
from vault_svc.domain.tenant import Action, Status, Tenant, next_status
from vault_svc.errors import ColibriError
from vault_svc.ports.jail_engine import JailEngine
from vault_svc.ports.spawning import Held, Passing, Signals, SpawnRecords
from vault_svc.services.context import Context
from vault_svc.services.jails import destruction
from vault_svc.services.job import Options
from vault_svc.services.provision import Provisioner
from vault_svc.services.removal import Remover

# Runs inside, where it may read the file: no value passes through our hands.
_READER: Final = 'set -a; . "$0"; set +a; exec "$@"'


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the operator expects of the tenant's row, and whether the jail goes with the agent."""

    tenant_id: str
    jail: str | None = None
    jail_root: str | None = None
    engine: str | None = None
    ephemeral: bool = False


@dataclass(frozen=True, slots=True)
class Spawner:
    """Runs agents in tenants' jails; `hold_signals` notes what asks us to end meanwhile.

    tell: takes what went wrong and keeps nobody from running an agent.
    """

    context: Context
    records: SpawnRecords
    hold_signals: Callable[[], AbstractContextManager[Signals]]
    tell: Callable[[str], None] = lambda _: None

    def agent(self, wanted: Wanted, argv: Sequence[str]) -> int:
        """Run argv in the tenant's jail with its secrets; return its exit status.

        Nothing runs unless the delivery succeeded. An ephemeral jail is gone afterwards; if we
        are killed, the next run clears it away.
        """
        with self.hold_signals() as signals:
            self.sweep(wanted.tenant_id)
            row = self._row(wanted)
            engine = self.context.engine(row.engine)
            with self._jail(row, engine, ephemeral=wanted.ephemeral):
                engine.start(row.jail)
                self._expect_root(row, engine, wanted.jail_root)
                line = self._provisioned(row, argv)
                if signals.ending is not None:
                    return 128 + signals.ending
                return self._run(row, engine, line, argv[0])

    def sweep(self, tenant_id: str) -> None:
        """Clear away the jails of agents whose colibri was killed; raise what keeps this tenant's.

        Another tenant's that cannot be cleared away now is told of, and tried again the next time.
        """
        for record in self.records.abandoned():
            try:
                self._end(record)
            except ColibriError as error:
                if record.what.tenant_id == tenant_id:
                    raise
                self.tell(f"what an agent left in jail '{record.what.jail}' stays: {error.message}")

    def _row(self, wanted: Wanted) -> Tenant:
        row = self.context.registry.tenant(wanted.tenant_id)
        next_status(row, Action.PROVISION)
        for what, expected, found in (
            ("jail", wanted.jail, row.jail),
            ("engine", wanted.engine, row.engine),
        ):
            if expected is not None and expected != found:
                raise _differs(row, what, expected, found)
        return row

    def _expect_root(self, row: Tenant, engine: JailEngine, expected: str | None) -> None:
        if expected is None:
            return
        found = engine.root_of(row.jail)
        if expected != found:
            raise _differs(row, "jail root", expected, found)

    @contextmanager
    def _jail(self, row: Tenant, engine: JailEngine, *, ephemeral: bool) -> Iterator[None]:
        """Have the jail there in the block: as it is, newly made, or made for the block only."""
        if any(info.name == row.jail for info in engine.list()):
            if ephemeral:
                raise ColibriError(
                    "jail_taken",
                    f"jail '{row.jail}' is there already, an ephemeral one would be destroyed",
                    hint="leave --ephemeral out to use it; or colibri update-tenant"
                    f" {row.tenant_id} --ephemeral, then jail destroy {row.jail}",
                    tenant=row.tenant_id,
                )
            yield
        elif row.jail_root:
            raise ColibriError(
                "jail_not_found",
                f"the registered jail '{row.jail}' is gone",
                hint=f"make it again, then colibri update-tenant {row.tenant_id} --jail {row.jail}",
                tenant=row.tenant_id,
            )
        elif ephemeral:
            with self._passing(row, engine):
                yield
        else:
            self._make(row, engine)
            yield

    @contextmanager
    def _passing(self, row: Tenant, engine: JailEngine) -> Iterator[None]:
        what = Passing(row.tenant_id, row.engine, row.jail)
        with self.records.add(what) as record:
            try:
                self._make(row, engine)
                yield
            except ColibriError as error:
                if error.code == "jail_taken":  # somebody else's, made meanwhile
                    record.done()
                    raise
                self._end(record)
                raise
            except BaseException:
                self._end(record)
                raise
            self._end(record)

    def _end(self, record: Held) -> None:
        self._clear(record.what)
        record.done()

    def _make(self, row: Tenant, engine: JailEngine) -> None:
        with self.context.locks.hold(row.tenant_id):
            self.context.have_memory(row)
        made = engine.create(row.jail, Owner(row.owner_uid, row.owner_gid))
        self.context.record(
            Event.JAIL_CREATED, row.tenant_id, jail=row.jail, engine=row.engine, root=made.root
        )

    def _provisioned(self, row: Tenant, argv: Sequence[str]) -> Sequence[str]:
        """Deliver; return the command line that finds the secrets: in its environment, or files."""
        loads = not is_set(row.delivery)
        if loads and row.profile not in READ_BY_SH:
            raise ColibriError(
                "usage",
                f"a file of profile '{row.profile}' is not for a shell to read",
                hint=f"colibri update-tenant {row.tenant_id} --profile {READ_BY_SH[0]}",
                tenant=row.tenant_id,
            )
        try:
            Provisioner(self.context).one(row.tenant_id, Options(reload=False))
        except ColibriError as error:
            if error.code != "no_collection":
                raise
            return argv
        if not loads:  # the command reads the files itself, where the row says they are
            return argv
        # Engines enter at the jail's `/`; for a plain tree only the relative path is the jail's.
        return ["/bin/sh", "-c", _READER, f".{row.env_path}", *argv]

    def _run(self, row: Tenant, engine: JailEngine, line: Sequence[str], program: str) -> int:
        # The program's name only: what else is on its command line is not ours to keep.
        facts = {"jail": row.jail, "engine": row.engine}
        self.context.record(
            Event.AGENT_STARTED, row.tenant_id, program=program.rpartition("/")[2], **facts
        )
        status = engine.attach(row.jail, line, Owner(row.owner_uid, row.owner_gid))
        self.context.record(Event.AGENT_ENDED, row.tenant_id, status=status, **facts)
        return status

    def _clear(self, what: Passing) -> None:
        """End what runs, destroy the jail and with it the file; each only if it is still there."""
        if not self._is_passing(what):
            return
        engine = self.context.engine(what.engine)
        if any(info.name == what.jail for info in engine.list()):
            facts = {"jail": what.jail, "engine": what.engine}
            with destruction(self.context, what.tenant_id, **facts):
                engine.stop(what.jail)
                engine.destroy(what.jail)
        self._forget(what)

    def _is_passing(self, what: Passing) -> bool:
        """Say whether the jail of a record is still what it was: nobody else's, and not to stay."""
        holder = self.context.registry.by_jail(self.context.settings.host, what.jail)
        return holder is None or (
            (holder.tenant_id, holder.engine) == (what.tenant_id, what.engine)
            and holder.root_ino is None
        )

    def _forget(self, what: Passing) -> None:
        """Record that the delivered file is no more."""
        with self.context.locks.hold(what.tenant_id):
            row = self.context.registry.rows([what.tenant_id]).get(what.tenant_id)
            if row is None or row.jail != what.jail or row.status is Status.OFFBOARDED:
                return  # its file went, and was recorded, when it left that jail
            newest = self.context.registry.newest([what.tenant_id]).get(what.tenant_id)
            delivered = newest.path if isinstance(newest, Receipt) else ""
            if not delivered and self.context.registry.open_intents([what.tenant_id]):
                delivered = row.env_path
            if delivered:
                Remover(self.context).take_out(row, delivered, reason="ephemeral")
                row = self.context.registry.tenant(what.tenant_id)
            if row.jail_root and row.root_ino is None:
                # The next jail of this name is another one: its root is open again (decision 7).
                open_row = replace(row, jail_root="", updated_at=self.context.clock.now())
                self.context.registry.update(open_row, expected=row)
            if not any(info.name == what.jail for info in self.context.engine(what.engine).list()):
                self.context.drop_memory(row)


def _differs(row: Tenant, what: str, expected: str, found: str) -> ColibriError:
    return ColibriError(
        "jail_root_mismatch",
        f"the {what} of tenant '{row.tenant_id}' is '{found}', not '{expected}'",
        hint=f"colibri show-tenant {row.tenant_id}",
        tenant=row.tenant_id,
    )
