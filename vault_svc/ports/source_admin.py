"""What an operator does with a source that keeps its secrets on a server: log in, test, log out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from vault_svc.domain.check import Check
from vault_svc.domain.lease import Request
from vault_svc.domain.secret import CollectionRef, SecretValue


@dataclass(frozen=True, slots=True)
class Asked:
    """Where to log in; paths are absolute, None is for the adapter to find.

    stored: the account that is kept already, with another helper or authority; server and
    organisation are then its own.
    """

    server: str = ""
    organization: str = ""
    ca_file: str | None = None
    helper: str | None = None
    interpreter: str | None = None
    stored: bool = False


@dataclass(frozen=True, slots=True)
class VaultAsked(Asked):
    """Where and how to log in to Vault or OpenBao; paths of files are absolute, "" for none.

    method: approle, token-file, cert, jwt; auth_mount "" for the method's usual one; role is
    cert's or jwt's; auth_file holds a token (token-file) or a JWT (jwt).
    """

    method: str = "approle"
    mount: str = "secret"
    folder: str = "tenants"
    namespace: str = ""
    auth_mount: str = ""
    role: str = ""
    auth_file: str = ""
    cert_file: str = ""
    key_file: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What may be shown of a source; collections is None where nothing was read.

    Fields a source has no use for are empty. place is where in the server collections are.
    stands_in_the_way: why the next read would not even be tried, in words, or nothing.
    """

    source: str
    server: str
    organization: str
    organization_id: str
    account: str
    credential: str
    helper: str
    interpreter: str
    helper_version: str
    helper_manifest: str
    collections: int | None = None
    stands_in_the_way: str = ""
    namespace: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """Something the server should hold for colibri, and how the server's own differs.

    kind: policy, token role or advice; state: same, differs, missing or written, "" before it was
    compared; difference is a unified diff from the server's to ours.
    """

    name: str
    kind: str
    text: str
    state: str = ""
    difference: str = ""


Leased = Mapping[str, Sequence[Request]]


class BegunLogin(Protocol):
    """A login whose helper and address are found good; no secret was asked for yet."""

    @property
    def wanted(self) -> tuple[str, ...]:
        """What the secrets are called, in the order they are asked for."""
        ...

    def finish(self, secrets: Sequence[SecretValue]) -> Facts:
        """Prove the secrets by one read, and only then replace what was stored."""
        ...


class SourceAdmin(Protocol):
    """One source's account on this host."""

    def begin(self, asked: Asked) -> BegunLogin:
        """Check the helper and the address; raise `helper_untrusted`, `helper_missing`, `usage`."""
        ...

    def test(self) -> Facts:
        """Read the list of collections, whatever stood in the way; raise the source's codes."""
        ...

    def show(self) -> Facts:
        """Return what is stored, without asking the server; raise `credential_missing`."""
        ...

    def logout(self) -> bool:
        """Remove what is stored; return whether something was."""
        ...

    def examine(
        self, left: Collection[str]
    ) -> tuple[list[Check], tuple[CollectionRef, ...] | None]:
        """Look at what reads need, less what offboarded tenants left; return the collections."""
        ...


class SourcePolicies(Protocol):
    """What a server must hold so that its tenants are apart.

    names are collections, leased is what each tenant leases.
    """

    def rendered(self, names: Collection[str], leased: Leased) -> tuple[Document, ...]:
        """Return every document, asking no server; the stored account says the place."""
        ...

    def compared(
        self,
        names: Collection[str],
        left: Collection[str],
        leased: Leased,
        operator: SecretValue | None,
    ) -> tuple[Document, ...]:
        """Return every document with its state, for names and for all collections there but left.

        By the operator's token, or by the stored account.
        """
        ...

    def applied(
        self, names: Collection[str], left: Collection[str], leased: Leased, operator: SecretValue
    ) -> tuple[Document, ...]:
        """Install what is missing or differs, by the operator's token: our own may write none."""
        ...
