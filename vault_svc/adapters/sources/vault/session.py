"""One run's session at the server: looked at, logged in, kept alive, ended."""

from __future__ import annotations

import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final, TypeVar

from vault_svc.adapters.sources.circuit import Circuit
from vault_svc.adapters.sources.vault import failures, login, wire
from vault_svc.adapters.sources.vault.account import Account
from vault_svc.adapters.sources.vault.client import Client, Health
from vault_svc.adapters.sources.vault.governor import Governor
from vault_svc.adapters.sources.vault.options import Options
from vault_svc.adapters.sources.vault.refusal import Refusal
from vault_svc.errors import ColibriError, printable
from vault_svc.ports.credential_store import CredentialStore

CIRCUIT_FILE: Final = "vault.circuit"
MEND: Final = "mend the account, then colibri source test vault, or source login again"
_VERSION: Final = re.compile(r"(\d+)\.(\d+)", re.ASCII)
_FOREVER: Final = 1 << 40
_LEAST_VERSION: Final = (1, 10)

Answer = TypeVar("Answer")


class Session:
    """A logged-in orchestrator. Its token is renewed, or replaced, ahead of its end."""

    def __init__(self, client: Client, governor: Governor, relogin: Callable[[], str]) -> None:
        """Take a client with the orchestrator's token; relogin returns a new one."""
        self._client = client
        self._governor = governor
        self._relogin = relogin
        self._lock = threading.Lock()
        self._renew_at = self._time_to_renew(client)

    @property
    def client(self) -> Client:
        """The orchestrator's client, with a token that is good for a while."""
        with self._lock:
            if time.monotonic() >= self._renew_at:
                self._freshen()
            return self._client

    def call(self, ask: Callable[[Client], Answer]) -> Answer:
        """Return ask's answer at the governor's pace.

        Raises ColibriError, and Refusal for what a tenant's token was refused, or is not there. A
        token that ended before its time is replaced once.
        """
        try:
            return self._governor.call(lambda: ask(self.client))
        except Refusal as refusal:
            if not refusal.doing or failures.is_missing(refusal):
                raise
            if not failures.is_denied(refusal) or not self._replaced():
                raise failures.of_orchestrator(refusal, refusal.doing) from None
        try:
            return self._governor.call(lambda: ask(self.client))
        except Refusal as refusal:
            if not refusal.doing or failures.is_missing(refusal):
                raise
            raise failures.of_orchestrator(refusal, refusal.doing) from None

    def _replaced(self) -> bool:
        """Say whether the token was dead and another one took its place."""
        with self._lock:
            try:
                self._governor.call(self._client.lookup)
            except Refusal:
                self._client = self._client.with_token(self._relogin())
                self._renew_at = self._time_to_renew(self._client)
                return True
            return False

    def _freshen(self) -> None:
        """Renew the token; a login's token that can't be renewed is replaced by a new login's."""
        try:
            self._governor.call(self._client.renew)
            self._renew_at = self._time_to_renew(self._client)
        except Refusal:
            self._client = self._client.with_token(self._relogin())
            self._renew_at = self._time_to_renew(self._client)

    def _time_to_renew(self, client: Client) -> float:
        """Return when two thirds of the token's life are over; raise `source_auth_failed`."""
        try:
            found = self._governor.call(client.lookup)
        except Refusal as refusal:
            raise failures.of_login(refusal, "token") from None
        left = found.get("ttl")
        if not isinstance(left, int) or not 0 < left < _FOREVER:  # a root token, which has no end
            return float("inf")
        return time.monotonic() + left * 2 / 3


@dataclass(frozen=True, slots=True)
class Sessions:
    """Opens sessions for an account."""

    options: Options
    credentials: CredentialStore
    circuit: Circuit

    @contextmanager
    def open(self, account: Account, *, probe: bool = False) -> Iterator[Session]:
        """Log in, and end what the login made afterwards; raise the source's codes.

        probe: also while the circuit is open, and it closes if the login works.
        """
        if not probe:
            self.circuit.refuse_open()
        governor = Governor(self.options, time.sleep)
        with self.bare(account) as client:
            refuse_unfit(governor.call(client.health))

            def log_in() -> str:
                try:
                    return governor.call(
                        lambda: login.token_of(client.wire, account, self.credentials)
                    )
                except ColibriError as error:
                    if error.code == "source_auth_failed" and account.method == "approle":
                        self.circuit.open(error.message)
                    raise

            mine = client.with_token(log_in())
            session = Session(mine, governor, log_in)
            if probe:
                self.circuit.close()
            try:
                yield session
            finally:
                if account.method != "token-file":  # that one is not ours to end
                    with suppress(ColibriError, Refusal):
                        session.client.revoke()

    @contextmanager
    def bare(self, account: Account) -> Iterator[Client]:
        """Open connections without a token."""
        made = wire.session(self._context(account), self.options)
        try:
            yield Client(
                wire.Wire(made, self.options, account.server, namespace=account.namespace),
                account.place,
            )
        finally:
            made.close()

    def _context(self, account: Account) -> ssl.SSLContext:
        context = trust(account.ca)
        if account.method != "cert":
            return context
        self.credentials.get(f"file:{account.key_file}")  # refused where others could read it
        try:
            context.load_cert_chain(account.cert_file, account.key_file, password=_no_password)
        except (OSError, ValueError):  # an SSLError is an OSError
            raise ColibriError(
                "credential_missing",
                "the certificate or key of the login cannot be read, or do not match",
                hint="check --cert-file and --key-file of the login",
            ) from None
        return context


def refuse_unfit(health: Health) -> None:
    """Raise `source_sealed` or `server_mismatch` for a server that can't be read from now."""
    if not health.initialised:
        raise ColibriError(
            "source_sealed", "the server is not initialised", hint="see the runbook vault-setup.md"
        )
    if health.sealed:
        raise ColibriError("source_sealed", "the server is sealed", hint=failures.SEALED)
    version = _VERSION.match(health.version)
    if version and tuple(map(int, version.groups())) < _LEAST_VERSION:
        raise ColibriError(
            "server_mismatch",
            f"the server's version {printable(health.version)} is too old",
            hint="Vault 1.10 or later, or any OpenBao: token roles have no policy globs before",
        )


def trust(ca: str) -> ssl.SSLContext:
    """Return a context that trusts ca (PEM) alone, or the host's authorities where it is "".

    Raises `usage` for PEM that can't be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if not ca:
        _trust_the_hosts(context)
        return context
    try:
        context.load_verify_locations(cadata=ca)
    except ssl.SSLError:
        raise ColibriError("usage", "the CA file holds no certificate that can be read") from None
    return context


def _trust_the_hosts(context: ssl.SSLContext) -> None:
    """Load the host's authorities.

    ssl's own way takes others, and a file to write session keys to, from the environment.
    """
    paths = ssl.get_default_verify_paths()
    with suppress(OSError):  # none there: then nothing is trusted
        context.load_verify_locations(capath=paths.openssl_capath)
        context.load_verify_locations(cafile=paths.openssl_cafile)


def _no_password() -> str:
    """Keep OpenSSL from asking on the terminal."""
    return ""
