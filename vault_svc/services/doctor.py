"""Doctor: is this host ready, and what has not been proven on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vault_svc.domain.check import Check
from vault_svc.errors import ColibriError
from vault_svc.ports.jail_engine import JailEngine
from vault_svc.services.context import Context
from vault_svc.services.doctor_memory import MemoryDoctor


@dataclass(frozen=True, slots=True)
class Doctor:
    """Looks, changes nothing."""

    context: Context
    engines: Callable[[], Sequence[JailEngine]]
    walk: Callable[[], str]
    second_layer: Callable[[], tuple[str, str]]
    unproven: Sequence[str]

    def examine(self) -> list[Check]:
        """Return every check; none stops the others."""
        return [
            self._try("host key", lambda: f"current {self.context.keys.current}"),
            self._try("registry", self._registry),
            self._try("audit log", self._audit),
            self._try("embedded store", self._store),
            self._try("confined write", self.walk),
            self._second_layer(),
            *self._memory(),
            *self._reload(),
            *(_engine(engine) for engine in self.engines()),
            *(
                Check(part, "warn", "unproven: see the README's support table")
                for part in self.unproven
            ),
        ]

    def _try(self, name: str, look: Callable[[], str]) -> Check:
        try:
            return Check(name, "ok", look())
        except ColibriError as error:
            return Check(name, "fail", error.message, error.hint, error.code)

    def _second_layer(self) -> Check:
        name, why = self.second_layer()
        if why:
            return Check("second layer", "warn", f"off: {why}", "descriptors alone confine writes")
        return Check("second layer", "ok", f"{name}: who writes in a jail can write nowhere else")

    def _memory(self) -> list[Check]:
        try:
            rows = self.context.registry.tenants(host=self.context.settings.host)
            return list(MemoryDoctor(self.context).examine(rows))
        except ColibriError:  # the registry: the line above says so
            return []

    def _reload(self) -> list[Check]:
        reloader = self.context.reloader
        if not reloader.configured:
            return []
        why = reloader.unfit()
        if why:
            return [Check("reload command", "fail", why, "see the setting reload_command", "usage")]
        return [Check("reload command", "ok", "told of each delivery that changed something")]

    def _registry(self) -> str:
        rows = self.context.registry.tenants(host=self.context.settings.host)
        failing = sum(row.last_error is not None for row in rows)
        return f"tenants on this host: {len(rows)}; failed on their last run: {failing}"

    def _audit(self) -> str:
        verdict = self.context.audit.verify()
        if verdict.broken_at:
            raise ColibriError(
                "audit_broken", verdict.broken_at, hint="see the runbook audit-broken.md"
            )
        return f"intact; lines: {verdict.lines}, segments: {verdict.segments}"

    def _store(self) -> str:
        return f"collections: {len(self.context.source('embedded').collections())}"


def _engine(engine: JailEngine) -> Check:
    name = f"engine {engine.name}"
    why = engine.unavailable()
    if why:
        return Check(name, "warn", f"not available: {why}")
    if not engine.capabilities.proven:
        return Check(name, "warn", "available; unproven: see the README's support table")
    if not engine.capabilities.isolates:
        seen = "available; a plain tree that isolates nothing"
        return Check(name, "warn", seen, "for trials; --engine bubblewrap isolates")
    return Check(name, "ok", "available")
