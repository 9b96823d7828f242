"""Small real implementations of the ports, kept in memory."""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from vault_svc.adapters.credentials.hostkeys import StoredHostKeys, fresh_host_key
from vault_svc.domain.audit import REMOVALS, Entry, Head
from vault_svc.domain.receipt import Intent, Receipt, Removal
from vault_svc.domain.secret import SecretValue
from vault_svc.domain.tenant import Status, Tenant
from vault_svc.errors import ColibriError
from vault_svc.ports.audit_log import Verdict
from vault_svc.ports.credential_store import HostKeys

HOST_KEY_URI = "file:host.key"


class TurnableClock:
    """A clock that stands still until a test turns it."""

    def __init__(self, start: str = "2026-11-21T03:24:00.000Z") -> None:
        self._wall = dt.datetime.fromisoformat(start)
        self._seconds = 1000.0

    def turn(self, seconds: float) -> None:
        self._wall += dt.timedelta(seconds=seconds)
        self._seconds += seconds

    def now(self) -> str:
        return self._wall.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def monotonic(self) -> float:
        return self._seconds


class MemoryCredentials:
    """A credential store; `gets` lists what was read, in order."""

    def __init__(self) -> None:
        self._blobs: dict[str, str] = {}
        self.gets: list[str] = []

    def get(self, uri: str) -> SecretValue:
        self.gets.append(uri)
        if uri not in self._blobs:
            raise ColibriError("credential_missing", f"{uri} is not there")
        return SecretValue(self._blobs[uri])

    def put(self, uri: str, value: SecretValue) -> None:
        self._blobs[uri] = value.reveal()

    def exists(self, uri: str) -> bool:
        return uri in self._blobs

    def delete(self, uri: str) -> None:
        self._blobs.pop(uri, None)


def host_keys(store: MemoryCredentials | None = None) -> StoredHostKeys:
    """Return host keys with a first key made."""
    store = store or MemoryCredentials()
    if not store.exists(HOST_KEY_URI):
        store.put(HOST_KEY_URI, fresh_host_key())
    return StoredHostKeys(store, HOST_KEY_URI)


class MemoryAudit:
    """An audit log without a disk; `full` makes all but removals fail, `broken` all of them."""

    def __init__(self, clock: TurnableClock | None = None, keys: HostKeys | None = None) -> None:
        self._clock = clock or TurnableClock()
        self._keys = keys or host_keys()
        self.entries: list[Entry] = []
        self._lines: list[dict[str, Any]] = []
        self.full = False
        self.broken = False
        self.syncs = 0

    def append(self, entries: Sequence[Entry]) -> Head:
        if self.broken:
            raise ColibriError("audit_broken", "the audit log was cut")
        if self.full and any(entry.event not in REMOVALS for entry in entries):
            raise ColibriError("audit_unwritable", "no space left", hint="free some space")
        for entry in entries:
            self._lines.append(self._line(entry))
            self.entries.append(entry)
        self.syncs += 1
        head = self.head()
        assert head is not None
        return head

    def ready(self) -> None:
        if self.broken:
            raise ColibriError("audit_broken", "the audit log was cut")

    def _line(self, entry: Entry) -> dict[str, Any]:
        head = self.head() or Head(0, "0" * 64)
        line = {
            "seq": head.seq + 1,
            "at": self._clock.now(),
            "event": str(entry.event),
            "tenant": entry.tenant,
            "detail": dict(entry.detail or {}),
            "key": self._keys.current,
            "prev": head.mac,
        }
        return {**line, "mac": self._keys.chain(head.mac, repr(line).encode())}

    def head(self) -> Head | None:
        return Head(self._lines[-1]["seq"], self._lines[-1]["mac"]) if self._lines else None

    def tail(self, count: int, *, tenant: str = "") -> list[Mapping[str, Any]]:
        found = [line for line in self._lines if not tenant or line["tenant"] == tenant]
        return list(found[-count:]) if count > 0 else []

    def lines(self) -> Iterator[Mapping[str, Any]]:
        return iter(list(self._lines))

    def verify(self) -> Verdict:
        broken = "the audit log was cut" if self.broken else None
        return Verdict(len(self._lines), 1, self.head(), broken)


class MemoryLocks:
    """Tenant locks of one process; `held` is what is locked now."""

    def __init__(self) -> None:
        self.held: set[str] = set()

    @contextmanager
    def hold(
        self, tenant_id: str, *, wait: bool = True, until: float | None = None
    ) -> Iterator[None]:
        if tenant_id in self.held:
            raise ColibriError("busy", f"another process works on '{tenant_id}'", tenant=tenant_id)
        self.held.add(tenant_id)
        try:
            yield
        finally:
            self.held.discard(tenant_id)


class MemoryRegistry:
    """A registry in dictionaries; the contract suite holds it to what the real ones do."""

    def __init__(self, *, receipts_kept: int = 100) -> None:
        self._tenants: dict[str, Tenant] = {}
        self._records: dict[str, list[Receipt | Removal]] = {}
        self._intents: dict[str, dict[int, Intent]] = {}
        self._head: Head | None = None
        self._kept = receipts_kept

    def tenant(self, tenant_id: str) -> Tenant:
        if tenant_id not in self._tenants:
            near = difflib.get_close_matches(tenant_id, self._tenants)
            hint = f"did you mean {', '.join(near)}?" if near else "colibri list-tenants"
            raise ColibriError("tenant_not_found", f"no tenant '{tenant_id}'", hint=hint)
        return self._tenants[tenant_id]

    def rows(self, tenant_ids: Collection[str]) -> Mapping[str, Tenant]:
        return {t: self._tenants[t] for t in tenant_ids if t in self._tenants}

    def tenants(
        self,
        *,
        host: str | None = None,
        status: Status | None = None,
        after: str = "",
        limit: int | None = None,
    ) -> list[Tenant]:
        rows = self._where(
            lambda row: (
                host in {None, row.host} and status in {None, row.status} and row.tenant_id > after
            )
        )
        return rows[:limit]

    def by_jail(self, host: str, jail: str) -> Tenant | None:
        rows = self._open(lambda row: (row.host, row.jail) == (host, jail))
        return rows[0] if rows else None

    def by_collection(self, source: str, collection_id: str) -> Tenant | None:
        wanted = (source, collection_id)
        rows = self._open(lambda row: (row.source, row.collection_id) == wanted)
        return rows[0] if rows else None

    def by_root(self, root: str) -> list[Tenant]:
        return self._open(lambda row: row.jail_root == root)

    def roots_around(self, host: str, root: str) -> list[Tenant]:
        mine = root.rstrip("/") + "/"

        def around(row: Tenant) -> bool:
            other = row.jail_root.rstrip("/") + "/"
            return row.host == host and (other.startswith(mine) or mine.startswith(other))

        return self._open(lambda row: bool(row.jail_root) and around(row))

    def _where(self, wanted: Callable[[Tenant], bool]) -> list[Tenant]:
        return [row for _, row in sorted(self._tenants.items()) if wanted(row)]

    def _open(self, wanted: Callable[[Tenant], bool]) -> list[Tenant]:
        return self._where(lambda row: row.status is not Status.OFFBOARDED and wanted(row))

    def newest(self, tenant_ids: Collection[str]) -> Mapping[str, Receipt | Removal]:
        return {t: self._records[t][-1] for t in tenant_ids if self._records.get(t)}

    def history(self, tenant_id: str, limit: int) -> list[Receipt | Removal]:
        return self._records.get(tenant_id, [])[::-1][:limit]

    def open_intents(self, tenant_ids: Collection[str]) -> Mapping[str, tuple[Intent, ...]]:
        return {
            t: tuple(self._intents[t][g] for g in sorted(self._intents[t]))
            for t in tenant_ids
            if self._intents.get(t)
        }

    def audit_head(self) -> Head | None:
        return self._head

    def add(self, tenant: Tenant) -> None:
        if tenant.tenant_id in self._tenants:
            raise ColibriError("tenant_exists", f"tenant '{tenant.tenant_id}' exists already")
        self._refuse_taken(tenant)
        self._tenants[tenant.tenant_id] = tenant

    def _refuse_taken(self, tenant: Tenant) -> None:
        if tenant.status is Status.OFFBOARDED:
            return
        for row in self._open(lambda row: row.tenant_id != tenant.tenant_id):
            if (row.host, row.jail) == (tenant.host, tenant.jail):
                raise ColibriError("jail_taken", f"the jail belongs to tenant '{row.tenant_id}'")
            bucket = (row.source, row.collection_id)
            if row.collection_id is not None and bucket == (tenant.source, tenant.collection_id):
                raise ColibriError(
                    "collection_taken", f"the collection belongs to tenant '{row.tenant_id}'"
                )

    def update(self, tenant: Tenant, *, expected: Tenant) -> None:
        if self.tenant(tenant.tenant_id) != expected:
            raise ColibriError("busy", f"tenant '{tenant.tenant_id}' was changed meanwhile")
        self._refuse_taken(tenant)
        self._tenants[tenant.tenant_id] = tenant

    def announce(self, intents: Sequence[Intent]) -> None:
        fresh = {t: dict(by_generation) for t, by_generation in self._intents.items()}
        for intent in intents:
            self.tenant(intent.tenant_id)
            if intent.generation in fresh.setdefault(intent.tenant_id, {}):
                raise ColibriError("busy", f"tenant '{intent.tenant_id}' was announced meanwhile")
            fresh[intent.tenant_id][intent.generation] = intent
        self._intents = fresh

    def commit(
        self,
        receipts: Sequence[Receipt],
        failures: Mapping[str, str],
        *,
        dropped: Collection[str] = (),
        head: Head | None = None,
    ) -> None:
        for receipt in receipts:
            self.tenant(receipt.tenant_id)
        for receipt in receipts:
            row = self._tenants[receipt.tenant_id]
            active = row.status is Status.REGISTERED
            self._tenants[receipt.tenant_id] = replace(
                row,
                status=Status.ACTIVE if active else row.status,
                generation=max(row.generation, receipt.generation),
                last_error=None,
                updated_at=receipt.at,
            )
            self._record(receipt)
            self._intents.pop(receipt.tenant_id, None)
        for tenant_id, line in failures.items():
            if tenant_id in self._tenants:
                self._tenants[tenant_id] = replace(
                    self._tenants[tenant_id], last_error=line or None
                )
        for tenant_id in dropped:
            self._intents.pop(tenant_id, None)
        if head:
            self.mirror(head)

    def _record(self, record: Receipt | Removal) -> None:
        records = self._records.setdefault(record.tenant_id, [])
        records.append(record)
        del records[: -self._kept]

    def close(self, tenant: Tenant, *, removal: Removal | None, head: Head | None) -> None:
        row = self.tenant(tenant.tenant_id)
        if row.status is Status.OFFBOARDED and tenant.status is not Status.OFFBOARDED:
            raise ColibriError("tenant_offboarded", f"tenant '{tenant.tenant_id}' is offboarded")
        self._tenants[tenant.tenant_id] = replace(
            row,
            status=tenant.status,
            generation=max(
                row.generation, tenant.generation, *self._intents.get(tenant.tenant_id, {0: None})
            ),
            last_error=tenant.last_error,
            updated_at=tenant.updated_at,
        )
        if removal:
            self._record(removal)
        self._intents.pop(tenant.tenant_id, None)
        if head:
            self.mirror(head)

    def mirror(self, head: Head) -> None:
        if self._head is None or head.seq > self._head.seq:
            self._head = head

    def replace_digests(
        self,
        digests: Mapping[str, tuple[str, str]],
        parts: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    ) -> int:
        done = 0
        for tenant_id, (old, new) in digests.items():
            records = self._records.get(tenant_id, [])
            if records and isinstance(records[-1], Receipt) and records[-1].digest == old:
                records[-1] = replace(records[-1], digest=new, parts=parts.get(tenant_id, ()))
                done += 1
        return done
