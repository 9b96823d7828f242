"""The operator's side of the Vault source: log in, test, show, log out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from vault_svc.adapters.sources.vault import account as accounts
from vault_svc.adapters.sources.vault import examination, failures, login, places, policies, source
from vault_svc.adapters.sources.vault.account import Account
from vault_svc.adapters.sources.vault.client import Client
from vault_svc.adapters.sources.vault.places import Place
from vault_svc.adapters.sources.vault.refusal import Refusal
from vault_svc.adapters.sources.vault.session import Sessions, refuse_unfit, trust
from vault_svc.domain.check import Check
from vault_svc.domain.secret import CollectionRef, SecretValue
from vault_svc.errors import ColibriError
from vault_svc.hazmat import treehash
from vault_svc.ports.credential_store import CredentialStore
from vault_svc.ports.source_admin import Asked, Document, Facts, Leased, VaultAsked

_CA_BYTES: Final = 1 << 20
_WANTED: Final = ("role id", "wrapped secret id")
_USUAL: Final = Place("secret", "tenants", 2)
_NEEDED: Final = {
    "approle": (),
    "token-file": ("auth_file",),
    "cert": ("cert_file", "key_file"),
    "jwt": ("auth_file", "role"),
}


@dataclass(frozen=True, slots=True)
class VaultAdmin:
    """SourceAdmin over one credential (decision 16)."""

    credentials: CredentialStore
    uri: str
    sessions: Sessions

    def begin(self, asked: Asked) -> BegunLogin:
        """Check address and options, and that such a server answers, before anything secret."""
        if asked.stored:
            return BegunLogin(self, self.stored(), complete=True)
        if not isinstance(asked, VaultAsked):
            raise ColibriError("internal", "a login at Vault was asked for without its options")
        wanted = _account(asked)
        with self.sessions.bare(wanted) as client:
            health = client.health()
        refuse_unfit(health)
        wanted = replace(wanted, cluster_id=health.cluster_id)
        return BegunLogin(self, wanted, complete=wanted.method != "approle")

    def stored(self) -> Account:
        """Return the account; raise `credential_missing`."""
        try:
            return accounts.parse(self.credentials.get(self.uri), self.uri)
        except ColibriError as error:
            if error.code != "credential_missing":
                raise
            raise ColibriError(
                error.code, error.message, hint="colibri source login vault"
            ) from None

    def test(self) -> Facts:
        """Read the list of collections, also while the circuit is open: a person asked."""
        account = self.stored()
        with self.sessions.open(account, probe=True) as session:
            return self._facts(account, len(source.listed(session)))

    def show(self) -> Facts:
        """Return what is stored, without asking the server."""
        return self._facts(self.stored(), None)

    def logout(self) -> bool:
        """Remove the credential; the server is not told."""
        was_there = self.credentials.exists(self.uri)
        self.credentials.delete(self.uri)
        self.sessions.circuit.close()
        return was_there

    def examine(
        self, left: Collection[str]
    ) -> tuple[list[Check], tuple[CollectionRef, ...] | None]:
        """Look at everything a read needs, less what offboarded tenants left."""
        return examination.examine(self, left)

    def reads_itself(self, name: str) -> bool:
        """Say whether the orchestrator's own token may read a collection; it must not."""
        with self.sessions.open(self.stored()) as session:
            try:
                session.call(lambda client: client.read(name))
            except Refusal as refusal:
                return not failures.is_denied(refusal)
        return True

    def policies_beside_ours(self) -> list[str]:
        """Return what else than the orchestrator's policy its token has."""
        with self.sessions.open(self.stored()) as session:
            try:
                found = session.call(lambda client: client.lookup())
            except Refusal as refusal:
                raise failures.of_orchestrator(refusal, "look at its own token") from None
        lists = [found.get(name) for name in ("policies", "identity_policies")]
        named = [str(each)[:64] for one in lists if isinstance(one, list) for each in one]
        return sorted(set(named) - {places.ORCHESTRATOR_POLICY})

    # What the server must hold

    def rendered(self, names: Collection[str], leased: Leased) -> tuple[Document, ...]:
        """Return every document, for the usual place where no account is stored yet."""
        place = _USUAL if not self.credentials.exists(self.uri) else self.stored().place
        return policies.rendered(place, sorted(names), leased)

    def compared(
        self,
        names: Collection[str],
        left: Collection[str],
        leased: Leased,
        operator: SecretValue | None,
    ) -> tuple[Document, ...]:
        """Return every document that the server should hold with its state."""
        with self.client(operator) as client:
            return policies.compared(client, self._wanted(client, names, left, leased))

    def applied(
        self, names: Collection[str], left: Collection[str], leased: Leased, operator: SecretValue
    ) -> tuple[Document, ...]:
        """Install what is missing or differs."""
        with self.client(operator) as client:
            return policies.applied(client, self._wanted(client, names, left, leased))

    def _wanted(
        self, client: Client, names: Collection[str], left: Collection[str], leased: Leased
    ) -> tuple[Document, ...]:
        try:
            there = [name for name in client.names() if places.is_name(name)]
        except Refusal as refusal:
            raise failures.of_orchestrator(refusal, refusal.doing) from None
        return policies.rendered(client.place, sorted({*names, *there} - set(left)), leased)

    @contextmanager
    def client(self, operator: SecretValue | None) -> Iterator[Client]:
        """Open a client with an operator's token, or logged in with the stored account."""
        account = self.stored()
        if operator is None:
            with self.sessions.open(account) as session:
                yield session.client
        else:
            token = accounts.checked_secret(operator, "operator's token")
            with self.sessions.bare(account) as client:
                refuse_unfit(client.health())
                yield client.with_token(token)

    def keep(self, account: Account) -> Facts:
        """Prove an account by one read, and only then replace the one that is stored."""
        with self.sessions.open(account, probe=True) as session:
            version = _kv_version(session.client, account.mount)
        proven = replace(account, version=version)
        found = self.collections(proven)
        self.credentials.put(self.uri, proven.blob())
        return self._facts(proven, len(found))

    def unwrapped(self, account: Account, wrapped: SecretValue) -> SecretValue:
        """Return the secret id that a wrapping token holds."""
        with self.sessions.bare(account) as client:
            return login.unwrapped_secret_id(client.wire, wrapped, account.auth_mount)

    def collections(self, account: Account) -> tuple[CollectionRef, ...]:
        """Return the collections that an account sees."""
        with self.sessions.open(account) as session:
            return source.listed(session)

    def _facts(self, account: Account, collections: int | None) -> Facts:
        named = account.role_id or account.role or account.auth_file
        return Facts(
            source=source.NAME,
            server=account.server,
            organization="",
            organization_id="",
            account=f"{account.method} {named}".strip(),
            credential=self.uri,
            helper="",
            interpreter="",
            helper_version="",
            helper_manifest="",
            collections=collections,
            stands_in_the_way=self.sessions.circuit.state(),
            namespace=account.namespace,
            place=f"{account.mount}/{account.folder} (KV version {account.version})",
        )


@dataclass(frozen=True, slots=True)
class BegunLogin:
    """A login that waits for its secrets; complete says that it needs none."""

    admin: VaultAdmin
    account: Account
    complete: bool

    @property
    def wanted(self) -> tuple[str, ...]:
        """What is asked for, in order."""
        return () if self.complete else _WANTED

    def finish(self, secrets: Sequence[SecretValue]) -> Facts:
        """Unwrap, prove and keep; raise `usage` for the wrong number of lines."""
        if len(secrets) != len(self.wanted):
            raise ColibriError(
                "usage",
                f"{len(self.wanted)} lines are wanted, {len(secrets)} came",
                hint="one per line: " + ", ".join(self.wanted),
            )
        account = self.account
        if secrets:
            role_id = accounts.checked_secret(secrets[0], "role id")
            secret_id = self.admin.unwrapped(account, secrets[1])
            account = replace(account, role_id=role_id, secret_id=secret_id)
        return self.admin.keep(account)


def _account(asked: VaultAsked) -> Account:
    if asked.method not in accounts.METHODS:
        raise ColibriError(
            "usage",
            f"there is no way to log in called '{asked.method[:40]}'",
            hint="one of: " + ", ".join(accounts.METHODS),
        )
    missing = [name for name in _NEEDED[asked.method] if not getattr(asked, name)]
    if missing:
        options = ", ".join("--" + name.replace("_", "-") for name in missing)
        raise ColibriError(
            "usage", f"--auth {asked.method} needs {options}", hint="source login vault --help"
        )
    auth_mount = asked.auth_mount or accounts.DEFAULT_AUTH_MOUNTS[asked.method]
    return Account(
        server=accounts.checked_server(asked.server),
        namespace=asked.namespace and accounts.checked_path(asked.namespace, "--namespace"),
        mount=accounts.checked_path(asked.mount, "--mount"),
        folder=accounts.checked_path(asked.folder, "--folder"),
        version=2,
        method=asked.method,
        auth_mount=auth_mount and accounts.checked_path(auth_mount, "--auth-mount"),
        role=asked.role and accounts.checked_path(asked.role, "--role"),
        ca=_authority(asked.ca_file),
        auth_file=asked.auth_file,
        cert_file=asked.cert_file,
        key_file=asked.key_file,
    )


def _kv_version(client: Client, mount: str) -> int:
    """Return the KV engine's version of a mount; raise `collection_not_found`."""
    try:
        return client.kv_version()
    except Refusal:
        raise ColibriError(
            "collection_not_found",
            f"the server has no mount '{mount}' that the orchestrator may use",
            hint="check --mount and --namespace, and the policy: the runbook vault-setup.md",
        ) from None


def _authority(path: str | None) -> str:
    if path is None:
        return ""
    try:
        text = treehash.read_file(path, "credential_unsafe", max_bytes=_CA_BYTES).decode("ascii")
    except (FileNotFoundError, UnicodeDecodeError):
        raise ColibriError("usage", f"'{path}' is no PEM file", hint="check --ca-file") from None
    if "PRIVATE KEY" in text:
        raise ColibriError("usage", f"'{path}' holds a private key", hint="certificates only")
    trust(text)
    return text
