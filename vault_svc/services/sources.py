"""Sources that keep their secrets on a server: the operator's account there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vault_svc.domain.audit import Event
from vault_svc.domain.check import Check
from vault_svc.domain.dotenv_import import parse_import
from vault_svc.domain.secret import CollectionRef, SecretValue
from vault_svc.domain.tenant import Status
from vault_svc.errors import ColibriError
from vault_svc.ports.credential_store import CredentialStore
from vault_svc.ports.source_admin import (
    Asked,
    BegunLogin,
    Document,
    Facts,
    Leased,
    SourceAdmin,
    SourcePolicies,
)
from vault_svc.services.context import Context

OLDER = ("BW_SERVER", "BW_CLIENTID", "BW_CLIENTSECRET", "BW_PASSWORD")
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Older:
    """What an environment file of the older kind holds."""

    server: str
    secrets: tuple[SecretValue, ...]


@dataclass(frozen=True, slots=True)
class Sources:
    """Log in, test, show, log out, examine."""

    context: Context
    credentials: CredentialStore
    admin: Callable[[str], SourceAdmin]
    policed: Callable[[str], SourcePolicies]
    make_default: Callable[[str], None]

    def begin(self, source: str, asked: Asked) -> BegunLogin:
        """Check helper and address before any secret is asked for."""
        return self.admin(source).begin(asked)

    def older(self, path: str) -> Older:
        """Read an environment file of the older kind, 0600; raise `usage` where one is missing."""
        text = self.credentials.get(f"file:{path}").reveal()
        found = parse_import(text.encode(), allowed=frozenset(OLDER))
        missing = [name for name in OLDER if not found.get(name)]
        if missing:
            raise ColibriError(
                "usage", f"'{path}' has no {', '.join(missing)}", hint="add it, or log in by hand"
            )
        server, *secrets = (found[name] for name in OLDER)
        return Older(server, tuple(SecretValue(text) for text in secrets))

    def login(
        self, source: str, begun: BegunLogin, secrets: Sequence[SecretValue], *, default: bool
    ) -> Facts:
        """Prove the secrets, store them, and say so in the audit log; also a failed try."""
        try:
            facts = begun.finish(secrets)
        except ColibriError as error:
            self.context.record(Event.SOURCE_LOGIN_FAILED, source=source, code=error.code)
            raise
        if default:
            self.make_default(source)
        self.context.record(
            Event.SOURCE_LOGIN,
            source=source,
            server=facts.server,
            organization_id=facts.organization_id,
            account=facts.account,
            helper=facts.helper,
            helper_version=facts.helper_version,
            manifest=facts.helper_manifest,
            default=default,
        )
        return facts

    def test(self, source: str) -> Facts:
        """Read the list of collections."""
        return self.admin(source).test()

    def show(self, source: str) -> Facts:
        """Return what is stored, less the secrets."""
        return self.admin(source).show()

    def logout(self, source: str) -> bool:
        """Forget the account; return whether there was one."""
        was_there = self.admin(source).logout()
        if was_there:
            self.context.record(Event.SOURCE_LOGOUT, source=source)
        return was_there

    def examine(self, source: str) -> list[Check]:
        """Return every check; none stops the others."""
        checks, collections = self.admin(source).examine(self._collections(source)[1])
        if collections is not None:
            checks += self._both_sides(source, collections)
        return checks

    def policies(self, source: str) -> tuple[Document, ...]:
        """Return what the source's server should hold, without asking it."""
        return self.policed(source).rendered(self._collections(source)[0], self._leased())

    def compare_policies(
        self, source: str, operator: SecretValue | None = None
    ) -> tuple[Document, ...]:
        """Return what the server should hold, and how what it holds differs."""
        return self.policed(source).compared(*self._collections(source), self._leased(), operator)

    def apply_policies(self, source: str, operator: SecretValue) -> tuple[Document, ...]:
        """Install what is missing or differs, by the operator's token; say so in the log."""
        done = self.policed(source).applied(*self._collections(source), self._leased(), operator)
        written = [each.name for each in done if each.state == "written"]
        if written:
            self.context.record(Event.SOURCE_POLICIES, source=source, written=written)
        return done

    def _collections(self, source: str) -> tuple[set[str], set[str]]:
        """Return the collections of open rows, and those that only offboarded tenants had."""
        rows = [row for row in self.context.registry.tenants() if row.source == source]
        used = {r.collection for r in rows if r.status is not Status.OFFBOARDED and r.collection_id}
        return used, {row.collection for row in rows if row.collection_id} - used

    def _leased(self) -> Leased:
        """Return what each tenant that is not offboarded leases."""
        found = self.context.leases.standings(self.context.leases.tenants())
        rows = self.context.registry.rows(list(found))
        return {
            tenant_id: standing.requests()
            for tenant_id, standing in found.items()
            if standing.variables and rows[tenant_id].status is not Status.OFFBOARDED
        }

    def _both_sides(self, source: str, collections: Sequence[CollectionRef]) -> list[Check]:
        rows = [
            row
            for row in self.context.registry.tenants()
            if row.source == source and row.status is not Status.OFFBOARDED and row.collection_id
        ]
        known = {ref.collection_id for ref in collections}
        used = {row.collection_id for row in rows}
        lost = [row.tenant_id for row in rows if row.collection_id not in known]
        idle = [ref.name for ref in collections if ref.collection_id not in used]
        return [
            _listed("tenants without a collection", lost, "fail", "collection_not_found", _LOST),
            _listed("collections without a tenant", idle, "warn", ""),
        ]


_LOST = "let the account read it, or colibri update-tenant TENANT --collection NAME"


def _listed(name: str, found: Sequence[str], state: str, code: str, hint: str = "") -> Check:
    if not found:
        return Check(name, "ok", "none")
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return Check(name, state, f"{len(found)}: {', '.join(found[:_SHOWN])}{more}", hint, code)
