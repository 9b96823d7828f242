"""The operator's side of the Vaultwarden source: log in, test, show, log out."""

from __future__ import annotations

import os
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from vault_svc.adapters.sources.vaultwarden import account as accounts
from vault_svc.adapters.sources.vaultwarden import answers, examination, helper, server
from vault_svc.adapters.sources.vaultwarden.account import Account
from vault_svc.adapters.sources.vaultwarden.answers import Content
from vault_svc.adapters.sources.vaultwarden.breaker import Breaker
from vault_svc.adapters.sources.vaultwarden.helper import Helper
from vault_svc.adapters.sources.vaultwarden.options import Options
from vault_svc.adapters.sources.vaultwarden.session import Sessions
from vault_svc.domain.check import Check
from vault_svc.domain.secret import CollectionRef, SecretValue
from vault_svc.errors import ColibriError, printable
from vault_svc.hazmat import treehash
from vault_svc.ports.credential_store import CredentialStore
from vault_svc.ports.source_admin import Asked, Facts

NAME: Final = "vaultwarden"
_CA_BYTES: Final = 1 << 20
_WANTED: Final = ("client id", "client secret", "master password")


@dataclass(frozen=True, slots=True)
class VaultwardenAdmin:
    """SourceAdmin over one credential (decision 16) and the real `bw`."""

    credentials: CredentialStore
    uri: str
    options: Options
    sessions: Sessions
    breaker: Breaker

    def begin(self, asked: Asked) -> BegunLogin:
        """Check helper, address and authority before anything is asked of a person or a server."""
        before = self._account() if asked.stored else None
        known = (before.helper.bw, before.helper.node) if before else ("", "")
        bw, node = helper.find(
            asked.helper or self.options.bw_path or _still_there(known[0], "--bw"),
            asked.interpreter or self.options.node_path or _still_there(known[1], "--node"),
        )
        found = helper.identify(bw, node, untested_version=self.options.untested_version)
        address = before.server if before else accounts.checked_server(asked.server)
        ca = self._kept_authority(address) if asked.ca_file is None else _authority(asked.ca_file)
        organization = before.organization_id if before else asked.organization
        return BegunLogin(self, address, organization, ca, found, before)

    def _kept_authority(self, address: str) -> str:
        """Return the authority that an earlier login recorded for the same server."""
        before = self._before()
        return before.ca if before and before.server == address else ""

    def _before(self) -> Account | None:
        try:
            return accounts.parse(self.credentials.get(self.uri), self.uri)
        except ColibriError:
            return None

    def stored(self) -> Account:
        """Return the account; raise `credential_missing`, and `helper_untrusted` if moved."""
        found = self._account()
        chosen = (self.options.bw_path, self.options.node_path)
        for setting, path in zip(chosen, (found.helper.bw, found.helper.node), strict=True):
            if setting and path and setting != path:
                raise ColibriError(
                    "helper_untrusted",
                    f"the settings name '{setting}', the login recorded '{path}'",
                    hint="colibri source login vaultwarden again, or change the setting",
                )
        return found

    def _account(self) -> Account:
        try:
            return accounts.parse(self.credentials.get(self.uri), self.uri)
        except ColibriError as error:
            if error.code != "credential_missing":
                raise
            raise ColibriError(
                error.code, error.message, hint="colibri source login vaultwarden"
            ) from None

    def test(self) -> Facts:
        """Read the list of collections, also while the circuit is open: a person asked."""
        account = self.stored()
        content = self.breaker.probe(lambda: self.collections_of(account, account.organization_id))
        return self._facts(account, len(content.collections))

    def show(self) -> Facts:
        """Return what is stored, without asking the server."""
        return self._facts(self.stored(), None)

    def logout(self) -> bool:
        """Remove the credential and close its circuit; the server is not told."""
        was_there = self.credentials.exists(self.uri)
        self.credentials.delete(self.uri)
        self.breaker.close()
        return was_there

    def examine(
        self, left: Collection[str]
    ) -> tuple[list[Check], tuple[CollectionRef, ...] | None]:
        """Look at everything a read needs; what was left needs nothing at the server."""
        del left
        return examination.examine(self)

    def collections_of(self, account: Account, wanted: str) -> Content:
        """Return an organisation's collections, read in one session and checked."""
        lists, kept = self.sessions.read(account, wanted, items=False)
        found = answers.organization(lists.organizations, wanted)
        return answers.checked(lists, kept, found["id"])

    def keep(self, account: Account, wanted: str) -> Facts:
        """Prove an account by one read, and only then replace the one that is stored."""
        content = self.collections_of(account, wanted)
        proven = replace(
            account,
            organization_id=content.organization_id,
            organization_name=content.organization_name,
        )
        self.credentials.put(self.uri, proven.blob())
        self.breaker.close()
        return self._facts(proven, len(content.collections))

    def device_id(self, address: str) -> str:
        """Return the device id the server knows us by, or a new one: each new one is a mail."""
        before = self._before()
        return before.device_id if before and before.server == address else str(uuid.uuid4())

    def _facts(self, account: Account, collections: int | None) -> Facts:
        return Facts(
            source=NAME,
            server=account.server,
            organization=account.organization_name,
            organization_id=account.organization_id,
            account=account.client_id,
            credential=self.uri,
            helper=account.helper.bw,
            interpreter=account.helper.node,
            helper_version=account.helper.version,
            helper_manifest=account.helper.manifest,
            collections=collections,
            stands_in_the_way=self.breaker.state(),
        )


@dataclass(frozen=True, slots=True)
class BegunLogin:
    """A login that waits for its secrets."""

    admin: VaultwardenAdmin
    address: str
    organization: str
    ca: str
    helper: Helper
    before: Account | None = None

    @property
    def wanted(self) -> tuple[str, ...]:
        """What is asked for, in order; nothing for the account that is stored."""
        return () if self.before else _WANTED

    def finish(self, secrets: Sequence[SecretValue]) -> Facts:
        """Check the form of the secrets, then prove and keep them; `usage` for what is no key."""
        if self.before is not None:
            kept = replace(self.before, ca=self.ca, helper=self.helper)
            return self.admin.keep(kept, self.organization)
        if len(secrets) != len(_WANTED):
            raise ColibriError(
                "usage",
                f"{len(_WANTED)} lines are wanted, {len(secrets)} came",
                hint="one per line: " + ", ".join(_WANTED),
            )
        client_id, client_secret, password = secrets
        account = Account(
            server=self.address,
            organization_id="",
            organization_name="",
            client_id=accounts.checked_client_id(client_id),
            device_id=self.admin.device_id(self.address),
            client_secret=accounts.checked_secret(client_secret, "client secret"),
            password=accounts.checked_secret(password, "master password"),
            ca=self.ca,
            helper=self.helper,
        )
        return self.admin.keep(account, self.organization)


def _still_there(path: str, option: str) -> str:
    """Return what an earlier login recorded; no other program gets its account unasked."""
    if path and not os.path.lexists(path):
        raise ColibriError(
            "helper_missing",
            f"'{printable(path)}', which the stored account was proven with, is gone",
            hint=f"say which one is meant: {option} PATH",
        )
    return path


def _authority(path: str) -> str:
    try:
        text = treehash.read_file(path, "credential_unsafe", max_bytes=_CA_BYTES).decode("ascii")
    except FileNotFoundError:
        raise ColibriError("usage", f"there is no file '{path}'", hint="check --ca-file") from None
    except UnicodeDecodeError:
        raise ColibriError("usage", f"'{path}' is no PEM file", hint="check --ca-file") from None
    if "PRIVATE KEY" in text:
        raise ColibriError("usage", f"'{path}' holds a private key", hint="certificates only")
    server.trusting(text)
    return text
