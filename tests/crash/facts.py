"""What a state directory says of itself: files, registry, audit log; read from copies only."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from tests.crash.place import Entry
from vault_svc.adapters.registry.lazy import LazyRegistry
from vault_svc.adapters.sources import age_files
from vault_svc.domain.audit import Head
from vault_svc.domain.receipt import Intent, Receipt, Removal
from vault_svc.domain.secret import SecretValue
from vault_svc.domain.tenant import Tenant

LOG = "audit/audit.jsonl"
_REGISTRY = ("colibri.sqlite", "colibri.sqlite-wal")


class Look(NamedTuple):
    """A delivered file as its readers see it."""

    mode: int
    uid: int
    gid: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Known:
    """What the registry says of one tenant, its records newest first."""

    row: Tenant
    records: tuple[Receipt | Removal, ...]
    intents: tuple[Intent, ...]

    @property
    def newest(self) -> Receipt | Removal | None:
        return self.records[0] if self.records else None

    @property
    def receipts(self) -> list[Receipt]:
        return [record for record in self.records if isinstance(record, Receipt)]


class Facts:
    """One moment of a state directory."""

    def __init__(self, picture: Mapping[str, Entry]) -> None:
        self.picture = picture

    @property
    def tenants(self) -> list[str]:
        """Return the jails' names, which are the tenants'."""
        return sorted(name.split("/")[1] for name in self.picture if name.count("/") == 1
                      and name.startswith("jails/"))  # fmt: skip

    def look(self, tenant: str) -> Look | None:
        """Return the delivered file; a directory or device there is no file and fails loudly."""
        entry = self.picture.get(f"jails/{tenant}/root/.env")
        if entry is None:
            return None
        assert entry.content is not None, f"'{tenant}' has no regular file at .env"
        return Look(entry.mode & 0o7777, entry.uid, entry.gid, entry.content)

    @property
    def names(self) -> set[str]:
        """Return every name there is, but for those that SQLite keeps while it is at work."""
        return {name for name in self.picture if not name.endswith(("-wal", "-shm"))}

    @property
    def log(self) -> bytes:
        entry = self.picture.get(LOG)
        return (entry.content if entry else None) or b""

    @cached_property
    def lines(self) -> list[dict[str, Any]]:
        """Return the log's whole lines; a torn one is none."""
        found = []
        for raw in self.log.split(b"\n")[:-1]:
            try:
                line = json.loads(raw)
            except ValueError:
                continue
            if isinstance(line, dict) and "mac" in line:
                found.append(line)
        return found

    def seqs(self, tenant: str, *events: str, **detail: Any) -> list[int]:
        """Return the numbers of a tenant's lines of these events with these details."""
        return [
            line["seq"]
            for line in self.lines
            if line["tenant"] == tenant
            and line["event"] in events
            and detail.items() <= line["detail"].items()
        ]

    @cached_property
    def registry(self) -> tuple[dict[str, Known], Head | None]:
        """Return what the registry says, from a copy: looking at it must not mend it."""
        with tempfile.TemporaryDirectory() as directory:
            Path(directory).chmod(0o700)
            for name in _REGISTRY:
                if entry := self.picture.get(name):
                    path = Path(directory, name)
                    path.write_bytes(entry.content or b"")
                    path.chmod(0o600)
            registry = LazyRegistry("", str(Path(directory, _REGISTRY[0])))
            try:
                rows = registry.tenants()
                intents = registry.open_intents([row.tenant_id for row in rows])
                known = {
                    row.tenant_id: Known(
                        row,
                        tuple(registry.history(row.tenant_id, 50)),
                        tuple(intents.get(row.tenant_id, ())),
                    )
                    for row in rows
                }
                return known, registry.audit_head()
            finally:
                registry.dispose()

    @property
    def known(self) -> dict[str, Known]:
        return self.registry[0]

    def secrets(self, collection: str) -> tuple[int, dict[str, str]] | None:
        """Return a collection's revision and values, or None if the identity cannot open it."""
        identity = self.picture["credentials/embedded.age"].content or b""
        opener = age_files.parse(SecretValue(identity.decode()), "the identity")
        blob = self.picture[f"store/{collection}.age"].content or b""
        try:
            whole = json.loads(opener.open(blob))
        except age_files.BrokenFileError:
            return None
        return whole["revision"], {k: v["value"] for k, v in whole["secrets"].items()}
