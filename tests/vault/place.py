"""A Vault source for tests, over the double or a real server."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from tests.kit.cli import Cli
from tests.kit.memory import MemoryCredentials
from tests.kit.vault import World
from vault_svc.adapters.clock import SystemClock
from vault_svc.adapters.credentials.store import UriCredentials
from vault_svc.adapters.sources.circuit import Circuit
from vault_svc.adapters.sources.vault.account import Account
from vault_svc.adapters.sources.vault.admin import VaultAdmin
from vault_svc.adapters.sources.vault.options import Options, Rules
from vault_svc.adapters.sources.vault.session import CIRCUIT_FILE, MEND, Sessions
from vault_svc.adapters.sources.vault.source import VaultSource
from vault_svc.adapters.sources.vault.writer import VaultWriter
from vault_svc.domain.secret import SecretValue

QUICK = {"backoff_seconds": 0.01, "patience_seconds": 0.2}


def options(**more: Any) -> Options:
    return Options(**(QUICK | more))


def account(world: World, **changes: Any) -> Account:
    """Return the account as `source login` would keep it, with a secret id of its own."""
    role_id = world.must("GET", "auth/approle/role/colibri/role-id")["data"]["role_id"]
    given: dict[str, Any] = {
        "server": world.url,
        "namespace": "",
        "mount": world.mount,
        "folder": "tenants",
        "version": world.version,
        "method": "approle",
        "auth_mount": "approle",
        "ca": world.ca_file.read_text() if world.ca_file else "",
        "role_id": role_id,
        "secret_id": SecretValue(world.secret_id()),
    }
    return Account(**(given | changes))


class NoCircuit(Circuit):
    """A circuit that never opens, for tests that have no data directory."""

    def __init__(self) -> None:
        super().__init__("", "", "", SystemClock())

    def state(self) -> str:
        return ""

    def open(self, why: str) -> None:
        pass

    def close(self) -> None:
        pass


def sessions(home: Path | None = None, **more: Any) -> Sessions:
    circuit = Circuit(str(home), CIRCUIT_FILE, MEND, SystemClock()) if home else NoCircuit()
    return Sessions(options(**more), UriCredentials(), circuit)


def source(world: World, rules: Rules | None = None, **more: Any) -> VaultSource:
    """Return a source; options by name, `account` for another account."""
    made = more.pop("account", None) or account(world)
    return VaultSource(lambda: made, sessions(**more), rules or Rules())


def admin(world: World, **more: Any) -> VaultAdmin:
    """Return an admin whose account is stored."""
    credentials = MemoryCredentials()
    credentials.put("memory", account(world).blob())
    return VaultAdmin(credentials, "memory", sessions(**more))


def writer(world: World, token: str | None = None, rules: Rules | None = None) -> VaultWriter:
    operator = SecretValue(world.root if token is None else token)
    return VaultWriter(functools.partial(admin(world).client, operator), rules or Rules())


def logged_in(cli: Cli, world: World) -> Cli:
    """Store the account as `source login` would, without its session."""
    UriCredentials().put(f"file:{cli.state}/credentials/vault", account(world).blob())
    cli.settings["COLIBRI_VAULT_BACKOFF_MILLISECONDS"] = "10"
    cli.settings["COLIBRI_VAULT_PATIENCE_SECONDS"] = "1"
    return cli


def operator_file(cli: Cli, world: World) -> str:
    path = cli.home / "operator"
    path.touch(mode=0o600)
    path.write_text(f"{world.root}\n")
    return str(path)
