"""An audit log under a test's hands: its mirror, keys, limits, and raw lines to tamper with."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.kit.memory import HOST_KEY_URI, MemoryCredentials, TurnableClock, host_keys
from vault_svc.adapters.audit.chain import Writer
from vault_svc.adapters.audit.jsonl import JsonlAudit
from vault_svc.domain.audit import Entry, Event, Head
from vault_svc.domain.secret import SecretValue


def delivered(tenant: str = "acme", **detail: Any) -> Entry:
    return Entry(Event.DELIVERED, tenant, {"generation": 1, "digest": "k1:" + "a" * 64, **detail})


def removed(tenant: str = "acme") -> Entry:
    return Entry(Event.REMOVED, tenant, {"path": "/.env"})


class Log:
    """One directory; `mirrored` is what the registry would remember."""

    def __init__(self, directory: Path, *, blob: str = "") -> None:
        self.directory = directory
        self._store = MemoryCredentials()
        if blob:
            self._store.put(HOST_KEY_URI, SecretValue(blob))
        self.keys = host_keys(self._store)
        self.clock = TurnableClock()
        self.mirrored: Head | None = None
        self.limits: dict[str, Any] = {"reserve_bytes": 4096, "lock_timeout_seconds": 20.0}

    @property
    def blob(self) -> str:
        return self._store.get(HOST_KEY_URI).reveal()

    @property
    def audit(self) -> JsonlAudit:
        """A process's view: nothing is remembered between two calls."""
        return JsonlAudit(
            str(self.directory), self.keys, self.clock, lambda: self.mirrored, **self.limits
        )

    def append(self, entries: Sequence[Entry]) -> Head:
        self.mirrored = self.audit.append(entries)
        return self.mirrored

    def another(self) -> Log:
        """The same log as another process sees it, with keys loaded by itself."""
        other = Log(self.directory)
        other._store = self._store
        other.keys = host_keys(self._store)
        return other

    def frozen_keys(self) -> Any:
        """The keys as they are now, deaf to rotation."""
        store = MemoryCredentials()
        store.put(HOST_KEY_URI, SecretValue(self.blob))
        return host_keys(store)

    def files(self) -> list[Path]:
        """The log's files, oldest first."""
        return [*sorted(self.directory.glob("audit-*.jsonl")), *self.directory.glob("audit.jsonl")]

    def raw(self) -> list[bytes]:
        """Every line of every file."""
        return [line for path in self.files() for line in path.read_bytes().splitlines()]

    def rewrite(self, change: Callable[[list[bytes]], Sequence[bytes]], at: int = -1) -> None:
        """Put what change makes of a file's lines in the file's place."""
        path = self.files()[at]
        lines = change(path.read_bytes().splitlines())
        path.write_bytes(b"".join(line + b"\n" for line in lines))

    def forge(self, keys: Any, head: Head, *entries: Entry) -> None:
        """Append lines as a holder of keys could."""
        writer = Writer(keys, self.clock.now(), head)
        with self.files()[-1].open("ab") as file:
            file.write(writer.lines(entries or [delivered()]))


def edited(raw: bytes, **changes: Any) -> bytes:
    """A line with fields changed, spelled as colibri would spell it."""
    fields = {**json.loads(raw), **changes}
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
