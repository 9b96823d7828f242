"""A Vaultwarden source for tests: over the fake, or over the real bw and a world."""

from __future__ import annotations

import functools
import hashlib
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.kit.bw import Bw
from tests.kit.cli import Cli
from tests.kit.fake_bw import FakeBw
from tests.kit.vaultwarden.world import World
from vault_svc.adapters.clock import SystemClock
from vault_svc.adapters.credentials.store import UriCredentials
from vault_svc.adapters.sources.vaultwarden import helper
from vault_svc.adapters.sources.vaultwarden.account import Account
from vault_svc.adapters.sources.vaultwarden.appdata import places
from vault_svc.adapters.sources.vaultwarden.breaker import FILE, Breaker
from vault_svc.adapters.sources.vaultwarden.options import Options, Rules
from vault_svc.adapters.sources.vaultwarden.session import Sessions
from vault_svc.adapters.sources.vaultwarden.source import VaultwardenSource
from vault_svc.domain.secret import SecretValue

DEVICE = str(uuid.UUID(int=7, version=4))


def options(home: Path, **more: Any) -> Options:
    given = {"timeout_seconds": 60.0, "lock_timeout_seconds": 120.0}
    return Options(str(home), **(given | more))


def account(bw: Bw, world: World, **changes: Any) -> Account:
    """Return the world's service account as `source login` would keep it."""
    given: dict[str, Any] = {
        "server": world.url,
        "organization_id": world.organization.id,
        "organization_name": world.organization.name,
        "client_id": world.client_id,
        "device_id": DEVICE,
        "client_secret": SecretValue(world.client_secret),
        "password": SecretValue(world.password),
        "ca": world.ca_file.read_text(),
        "helper": identified(bw),
    }
    return Account(**(given | changes))


def source(
    made: Callable[[], Account], chosen: Options, rules: Rules | None = None
) -> VaultwardenSource:
    clock = SystemClock()
    breaker = Breaker(chosen, clock, time.sleep)
    return VaultwardenSource(made, Sessions(chosen, clock), breaker, rules or Rules())


def fake_source(fake: FakeBw, home: Path, **more: Any) -> VaultwardenSource:
    return source(fake.account, options(home, **more))


def left_behind(chosen: Options) -> list[str]:
    """Return private directories of this data directory that are still there."""
    tag = hashlib.sha256(chosen.data_dir.encode()).hexdigest()[:12]
    return [
        f"{place}/{name}"
        for place in places(chosen)
        for name in os.listdir(place)
        if name.startswith("colibri-bw-") and tag in name
    ]


def still_running(chosen: Options) -> list[int]:
    """Return processes that were given a private directory of this data directory."""
    tag = hashlib.sha256(chosen.data_dir.encode()).hexdigest()[:12].encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                environ = Path("/proc", name, "environ").read_bytes()
                state = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if b"BITWARDENCLI_APPDATA_DIR=" in environ and tag in environ and state not in "ZX":
                found.append(int(name))
    return found


@functools.cache
def identified(bw: Bw) -> helper.Helper:
    """Return the helper's manifest, read once for all tests of this process."""
    return helper.identify(str(bw.script), str(bw.node))


def store_login(cli: Cli, bw: Bw, world: World, **changes: Any) -> None:
    """Store the account as `source login` would, without its session."""
    blob = account(bw, world, **changes).blob()
    UriCredentials().put(f"file:{cli.state}/credentials/vaultwarden", blob)


def at(cli: Cli) -> Options:
    """Return the options that a command line's source has, as far as its places go."""
    return Options(str(cli.state))


def forget_circuit(cli: Cli) -> None:
    (cli.state / FILE).unlink(missing_ok=True)
