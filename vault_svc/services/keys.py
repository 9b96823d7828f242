"""Host keys: make them once, rotate them without a false alarm (decision 15)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vault_svc.domain.audit import Event
from vault_svc.domain.receipt import Receipt
from vault_svc.domain.secret import SecretValue
from vault_svc.domain.tenant import Tenant
from vault_svc.errors import ColibriError
from vault_svc.ports.credential_store import CredentialStore
from vault_svc.ports.secret_source import IdentityRotator
from vault_svc.services import standing
from vault_svc.services.context import Context


@dataclass(frozen=True, slots=True)
class Rotated:
    """What a rotation replaced: key ids, or the count of re-encrypted collections."""

    what: str
    old: str
    new: str
    redone: int
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Keys:
    """Making and rotating the host key and the embedded store's identity."""

    context: Context
    credentials: CredentialStore
    makers: Mapping[str, Callable[[], SecretValue]]
    embedded: IdentityRotator

    def initialise(self) -> tuple[str, ...]:
        """Make what is missing; return the URIs made, none if all were there.

        Raises `credential_missing` for a key that something here still needs.
        """
        self._refuse_lost_host_key()
        made = []
        for uri, make in self.makers.items():
            if not self.credentials.exists(uri):
                self.credentials.put(uri, make())
                made.append(uri)
        if made:
            self.context.record(Event.INITIALISED, made=made)
        return tuple(made)

    def rotate_host(self) -> Rotated:
        """Add a host key, then recompute each newest receipt's digest from the jail's file.

        A file that has drifted keeps its old digest under its old key, so it stays a drift.
        """
        old, new = self.context.keys.rotate()
        self.context.record(Event.HOST_KEY_ROTATED, old=old, new=new)
        rows = self.context.registry.tenants(host=self.context.settings.host)
        newest = self.context.registry.newest([row.tenant_id for row in rows])
        digests, parts, left = {}, {}, []
        for row in rows:
            receipt = newest.get(row.tenant_id)
            if not isinstance(receipt, Receipt):
                continue
            content = self._sound(row, receipt)
            if content is not None:
                digest = self.context.keys.digest(row.tenant_id, content)
                digests[row.tenant_id] = (receipt.digest, digest)
                parts[row.tenant_id] = standing.parts(self.context.keys, row, content)
            else:
                left.append(row.tenant_id)
        redone = self.context.registry.replace_digests(digests, parts)
        return Rotated("host key", old, new, redone, tuple(left))

    def replace_host(self) -> Rotated:
        """Make a host key in place of a lost one, and begin a new audit log.

        Digests under the lost key say nothing any more: provisioning takes delivered files over.
        """
        rows = self.context.registry.tenants(host=self.context.settings.host)
        newest = self.context.registry.newest([row.tenant_id for row in rows])
        kept = {i: r for i, r in newest.items() if isinstance(r, Receipt)}
        used = {receipt.digest.partition(":")[0] for receipt in kept.values()}
        used |= {str(line["key"]) for line in self.context.audit.lines()}
        new = self.context.keys.replace_lost(used)
        if self.context.audit.verify().broken_at:
            self.context.registry.mirror(self.context.audit.renew()[0])
        self.context.record(Event.HOST_KEY_ROTATED, old="lost", new=new)
        return Rotated("host key", "", new, 0, tuple(sorted(kept)))

    def rotate_identity(self) -> Rotated:
        """Re-encrypt the embedded collections to a new identity; repeat it after a crash."""
        count = self.embedded.rotate_identity()
        self.context.record(Event.IDENTITY_ROTATED, collections=count)
        return Rotated("age identity", "", "", count)

    def _refuse_lost_host_key(self) -> None:
        uri = self.context.settings.host_key
        if self.credentials.exists(uri) or not self.context.audit.head():
            return
        raise ColibriError(
            "credential_missing",
            f"{uri} is gone and the audit log needs it",
            hint="put it back from its backup; see the runbook host-key-lost.md",
        )

    def _sound(self, row: Tenant, receipt: Receipt) -> bytes | None:
        """Return what the jail holds if it is what the receipt says."""
        try:
            found = standing.look(
                self.context.delivery,
                row,
                self.context.agreed_root(row),
                receipt.path,
                receipt.keys,
                max_bytes=self.context.settings.max_env_bytes,
            )
            content, key_id = found.content, receipt.digest.partition(":")[0]
            if content is None:
                return None
            if self.context.keys.digest(row.tenant_id, content, key_id=key_id) != receipt.digest:
                return None
        except ColibriError:
            return None
        return content
