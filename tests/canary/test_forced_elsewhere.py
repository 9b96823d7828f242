"""Forced errors where a lease server, an engine's directory, an agent or a policy is needed."""

from __future__ import annotations

import socket
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.canary.test_forced_errors import ELSEWHERE, STEPS, forced
from tests.kit.cli import Cli
from tests.kit.lease_server import LeaseServer
from tests.kit.memory import TurnableClock
from tests.kit.vault import Double, World
from tests.vault import place
from vault_svc.adapters.clock import SystemClock
from vault_svc.adapters.door_call import Call
from vault_svc.adapters.jails.directory import DirectoryEngine
from vault_svc.adapters.jails.podman import PodmanEngine
from vault_svc.errors import ColibriError
from vault_svc.ports.jail_engine import JailInfo
from vault_svc.wiring import Services

pytestmark = pytest.mark.canary

USER, PASSWORD = "DB_USER=database/creds/app#username", "DB_PASSWORD=database/creds/app#password"
LEASES = (
    ("lease", "list"),
    ("renew",),
    ("lease", "add", "acme", "DB_NAME=database/creds/app#username"),
    ("provision", "beta"),
    ("provision", "acme"),
    ("lease", "remove", "acme", "DB_PASSWORD"),
    ("revoke", "acme"),
    ("offboard", "acme"),
)
AGENTS = (
    ("-v", "spawn-agent", "acme", "--", "/bin/true"),
    ("spawn-agent", "beta", "--ephemeral", "--", "/bin/true"),
    ("jail", "destroy", "beta"),
)


def each(journey: str) -> list[tuple[str, str]]:
    steps = [step for step in STEPS if ".".join(step) in ELSEWHERE[journey]]
    assert len(steps) == len(ELSEWHERE[journey])
    return steps


@pytest.fixture
def leased(cli: Cli, monkeypatch) -> Cli:
    """A tenant with a lease that is due, and one whose first lease is still to be made."""
    clock = TurnableClock()
    monkeypatch.setattr(SystemClock, "now", lambda _: clock.now())
    monkeypatch.setattr(Services, "_lease_source", LeaseServer(clock, period=4000.0))
    for tenant in ("acme", "beta"):
        cli.tenant(tenant, API_KEY="static")
        cli.must("lease", "add", tenant, USER, PASSWORD)
    cli.must("provision", "acme")
    clock.turn(3000)
    return cli


@pytest.mark.parametrize(("port", "member"), each("leases"))
def test_a_failing_lease_repeats_no_secret(leased, monkeypatch, port, member):
    assert forced(leased, monkeypatch, (port, member), LEASES)


@pytest.mark.parametrize(("port", "member"), each("hooks"))
def test_a_failing_hook_file_repeats_no_secret(cli, monkeypatch, port, member):
    where = ("podman", "--directory", str(cli.home / "hooks.d"))
    cli.must("init")
    cli.must("hook", "install", *where)
    calls = [("hook", verb, *where) for verb in ("show", "uninstall", "install")]
    assert forced(cli, monkeypatch, (port, member), calls)


@pytest.mark.parametrize(("port", "member"), each("service"))
def test_a_failing_hooks_service_repeats_no_secret(cli, monkeypatch, port, member):
    cli.must("init")
    assert forced(cli, monkeypatch, (port, member), [("hook", "serve")] * 8)


@pytest.mark.parametrize(("port", "member"), each("service's call"))
def test_a_failing_answer_to_a_hook_repeats_no_secret(cli, monkeypatch, port, member):
    """The child that answers is this process here, so that what it says is seen."""
    root = cli.tenant("acme", API_KEY="static").parents[2]
    words = ("colibri", "hook", "run", "--jail", "acme", "--root", str(root))

    def serve(_fits, handle) -> None:
        ours, callers = socket.socketpair()
        with ours, callers:
            handle([Call(ours, "\0".join(("", "", *words)).encode(), b"", 0.0)], False)

    monkeypatch.setattr(Services, "hook_door", lambda *_: SimpleNamespace(serve=serve))
    assert forced(cli, monkeypatch, (port, member), [("hook", "serve")] * 8)


@pytest.mark.parametrize(("port", "member"), each("agents"))
def test_a_failing_agent_repeats_no_secret(cli, monkeypatch, port, member):
    """The agent itself is not run: what is around it is what fails."""
    cli.tenant("acme", API_KEY="static")
    cli.must("secret", "set", "beta", "API_KEY", stdin=b"static")
    cli.must("register-tenant", "beta", "--ephemeral", "--tier", "scratch")
    running = replace(DirectoryEngine.capabilities, starts=True)
    monkeypatch.setattr(DirectoryEngine, "capabilities", running)
    monkeypatch.setattr(DirectoryEngine, "attach", lambda *_, **__: 0)
    assert forced(cli, monkeypatch, (port, member), AGENTS)


@pytest.mark.root
@pytest.mark.parametrize(("port", "member"), each("memory"))
def test_failing_memory_repeats_no_secret(cli, monkeypatch, port, member):
    """The container is not there, and stopped: what is asked of it fails."""

    def stopped(*_):
        raise ColibriError("jail_not_running", "it does not run")

    def counts_as_we_do(self, name):  # an adapter is known by these parameters
        return False

    def has_it(self, name, root):
        return None

    monkeypatch.setattr(PodmanEngine, "list", lambda _: [JailInfo("acme", "", "podman", False)])
    monkeypatch.setattr(PodmanEngine, "root_of", stopped)
    monkeypatch.setattr(PodmanEngine, "shifts", counts_as_we_do)
    monkeypatch.setattr(PodmanEngine, "refuse_without_memory", has_it)
    cli.settings["COLIBRI_MEMORY_BASE"] = str(cli.home / "memory")
    cli.must("secret", "set", "acme", "API_KEY", stdin=b"static")
    cli.must("register-tenant", "acme", "--engine=podman", "--delivery=tmpfs")
    calls = [
        ("doctor",),
        ("update-tenant", "acme", "--delivery", "tmpfs-files"),
        ("provision", "acme"),
        ("revoke", "acme"),
        ("offboard", "acme"),
    ]
    try:
        assert forced(cli, monkeypatch, (port, member), calls)
    finally:
        subprocess.run(["umount", str(cli.home / "memory/acme")], check=False)


@pytest.mark.parametrize(("port", "member"), each("account"))
def test_a_failing_account_repeats_no_secret(cli, monkeypatch, port, member):
    with Double() as double:
        world = World(double.url, double.root, server=double).prepared()
        place.logged_in(cli.ready(), world)
        operator = ("--operator-file", place.operator_file(cli, world))
        policies = ("source", "policies", "vault")
        calls = [
            (*policies, "--print"),
            (*policies, "--check"),
            (*policies, "--apply", *operator),
            ("source", "logout", "vault"),
        ]
        assert forced(cli, monkeypatch, (port, member), calls)


@pytest.mark.parametrize(("port", "member"), each("lost key"))
def test_a_failing_look_for_a_lost_key_repeats_no_secret(cli, monkeypatch, port, member):
    cli.tenant("acme", API_KEY="static")
    (cli.state / "credentials" / "host.key").unlink()
    assert forced(cli, monkeypatch, (port, member), [("init",)])
