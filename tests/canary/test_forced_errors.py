"""Every method of every port fails with a secret in its message and its locals; nobody repeats it.

Ports are found by reflection over `vault_svc.ports`, their adapters by having all of a port's
members: new ones join by themselves.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

import vault_svc.adapters
import vault_svc.ports
from tests.canary import hunter
from tests.canary.marks import Marks, fresh_value
from tests.kit.cli import Cli
from tests.kit.lease_server import LeaseServer
from tests.kit.places import private_directory
from vault_svc.adapters import spawns
from vault_svc.adapters.sources.vaultwarden.admin import BegunLogin, VaultwardenAdmin
from vault_svc.errors import ColibriError
from vault_svc.hazmat import attach

pytestmark = pytest.mark.canary


class Panic(BaseException):
    """As pyo3's PanicException, which is no Exception."""


def _from_cause(text: str) -> ColibriError:
    refused = ColibriError("source_unreachable", "the source did not answer")
    refused.__cause__ = RuntimeError(text)
    refused.add_note(text)
    return refused


KINDS = (
    RuntimeError,
    lambda text: OSError(5, text, text),
    lambda text: UnicodeDecodeError("utf-8", text.encode(), 0, 1, text),
    KeyError,
    sqlite3.OperationalError,
    lambda text: ExceptionGroup(text, [ValueError(text)]),
    Panic,
    _from_cause,
    EOFError,
    MemoryError,
    lambda text: BrokenPipeError(32, text),
)


def modules(package) -> Iterator:
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if ".migrations." not in found.name:
            yield importlib.import_module(found.name)


@functools.cache
def ports() -> dict[str, type]:
    """Return every Protocol of vault_svc.ports."""
    return {
        name: kind
        for module in modules(vault_svc.ports)
        for name, kind in vars(module).items()
        if inspect.isclass(kind) and getattr(kind, "_is_protocol", False)
        if kind.__module__ == module.__name__
    }


def members(port: type) -> list[str]:
    return sorted(
        name
        for kind in port.__mro__
        if getattr(kind, "_is_protocol", False) and kind.__module__.startswith("vault_svc.")
        for name in vars(kind)
        if not name.startswith("_")
    )


@functools.cache
def adapters() -> dict[str, list[type]]:
    """Return for each port the classes that have all its members, doubles in use among them.

    Two have a member that only instances have, and are named.
    """
    classes = {
        kind
        for module in modules(vault_svc.adapters)
        for kind in vars(module).values()
        if inspect.isclass(kind) and kind.__module__.startswith("vault_svc.adapters.")
        if not getattr(kind, "_is_protocol", False)
    } | {LeaseServer}
    found = {
        name: sorted(
            (kind for kind in classes if implements(kind, port)), key=lambda kind: kind.__qualname__
        )
        for name, port in ports().items()
    }
    return found | {"Signals": [attach.Signals], "Held": [spawns._Record]}


def implements(kind: type, port: type) -> bool:
    """Say whether kind has all members; where that is one only, also with the same parameters."""
    if not all(hasattr(kind, each) for each in members(port)):
        return False
    if len(members(port)) > 1:
        return True
    (only,) = members(port)
    mine, theirs = (inspect.signature(getattr(each, only)).parameters for each in (kind, port))
    return list(mine) == list(theirs)


STEPS = [
    (name, member)
    for name, port in ports().items()
    for member in vars(port)
    if not member.startswith("_")
]
# Reached by no command: what no service calls cannot leak through one.
NOT_CALLED = {
    ("SecretSource", "name"),
    ("SecretWriter", "create"),
}
# Reached only with a lease server, an agent, memory or the like: test_forced_elsewhere.py.
ELSEWHERE = {
    "leases": {
        *(f"LeaseBook.{each}" for each in ("tenants", "record", "change_variables", "forget")),
        *(f"SealedTokens.{each}" for each in ("put", "get", "drop")),
        *(f"LeaseSource.{each}" for each in members(ports()["LeaseSource"])),
    },
    "hooks": {f"HostFiles.{each}" for each in ("read", "write", "remove")},
    "service": {"HookDoor.serve"},
    "service's call": {"HookCall.answer"},
    "agents": {
        *("JailEngine.pid_of", "JailEngine.attach", "SpawnRecords.add", "SpawnRecords.abandoned"),
        *("Held.what", "Held.done", "Signals.ending", "SpawnRecords.names"),
    },
    "account": {
        *(f"SourcePolicies.{each}" for each in ("rendered", "compared", "applied")),
        "CredentialStore.delete",
    },
    "lost key": {"AuditLog.head"},
    "memory": {
        *(f"MemoryRoots.{each}" for each in members(ports()["MemoryRoots"])),
        "TellsIds.shifts",
        "TellsMemory.refuse_without_memory",
    },
}
HERE = [step for step in STEPS if not any(".".join(step) in each for each in ELSEWHERE.values())]
LOGIN = ("source", "login", "vaultwarden", "--server", "https://127.0.0.1:9", "--organization", "A")
CALLS = (
    ("init",),
    ("secret", "set", "acme", "KEY"),
    ("secret", "import", "acme", "-"),
    ("secret", "list", "acme"),
    ("secret", "unset", "acme", "KEY"),
    ("jail", "list"),
    ("jail", "create", "spare"),
    ("jail", "start", "spare"),
    ("jail", "run", "spare", "/bin/true"),
    ("jail", "stop", "spare"),
    ("register-tenant", "beta", "--create-jail", "--tier", "scratch"),
    ("update-tenant", "acme", "--env-path", "/home/app/.env"),
    ("list-tenants",),
    ("show-tenant", "acme"),
    ("provision", "acme"),
    ("provision", "--all"),
    ("verify", "--all"),
    ("key", "rotate", "host"),
    ("key", "rotate", "identity"),
    ("audit", "tail"),
    ("audit", "verify"),
    ("audit", "renew"),
    ("key", "rotate", "host", "--lost"),
    ("doctor",),
    ("provision", "gamma"),
    LOGIN,
    ("source", "show", "vaultwarden"),
    ("source", "test", "vaultwarden"),
    ("source", "doctor", "vaultwarden"),
    ("source", "logout", "vaultwarden"),
    ("suspend", "acme"),
    ("resume", "acme"),
    ("revoke", "acme"),
    ("offboard", "acme"),
    ("jail", "destroy", "spare"),
)

# What only a tenant with one file per secret reaches.
FILES = ("--create-jail", "--tier", "scratch", "--delivery", "files")
FILES_CALLS = (
    ("provision", "epsilon"),
    ("verify", "epsilon"),
    ("secret", "set", "delta", "KEY"),
    ("register-tenant", "delta", *FILES),
    ("provision", "delta"),
    ("provision", "--all"),
    ("key", "rotate", "host"),
    ("suspend", "delta"),
    ("offboard", "epsilon"),
)


def test_every_port_has_an_adapter_that_is_made_to_fail():
    assert all(adapters().values()), {name for name, found in adapters().items() if not found}
    assert len(ports()) >= 9
    assert len(STEPS) >= 50


class Saboteur:
    """Makes one member of one port fail each time, and counts how often it did."""

    def __init__(self, port: str, member: str, secret: str, make) -> None:
        self.failed = 0
        self._make = make
        self._secret = secret
        self._member = member
        self._kinds = adapters()[port]
        self._is_property = isinstance(inspect.getattr_static(ports()[port], member), property)

    def arm(self, monkeypatch) -> None:
        wanted = property(self._fail, lambda *_: None) if self._is_property else self._fail
        for kind in self._kinds:
            monkeypatch.setattr(kind, self._member, wanted, raising=False)

    def _fail(self, *_: object, **__: object):
        in_a_local = self._secret
        self.failed += 1
        raise self._make(in_a_local)


@pytest.fixture
def lived(cli: Cli, monkeypatch) -> Cli:
    return live(cli, monkeypatch)


def live(cli: Cli, monkeypatch) -> Cli:
    """Have a host in the middle of its life, whose login to a server needs no helper."""
    cli.settings["COLIBRI_RELOAD_COMMAND"] = "/usr/bin/true"
    cli.tenant("acme", env_path="/.env", KEY="first")
    cli.must("provision", "acme")
    cli.must("secret", "set", "acme", "KEY", stdin=b"second")
    cli.must("secret", "set", "beta", "KEY", stdin=b"third")
    # Delivered, and nobody remembers: the next run adopts the file.
    cli.tenant("gamma", env_path="/.env", KEY="fourth")
    cli.must("provision", "gamma")
    forget(cli, "gamma")
    monkeypatch.setattr(VaultwardenAdmin, "begin", hollow)
    return cli


def shared(cli: Cli) -> None:
    """Have enough tenants that two processes share a run."""
    cli.settings |= {"COLIBRI_BATCH_SIZE": "1", "COLIBRI_PROVISION_PROCESSES": "2"}
    cli.tenant("zeta", env_path="/.env", KEY="fifth")


def forget(cli: Cli, tenant: str) -> None:
    with sqlite3.connect(cli.state / "colibri.sqlite") as registry:
        registry.execute("DELETE FROM deliveries WHERE tenant_id = ?", (tenant,))
        registry.execute("UPDATE tenants SET status = 'registered' WHERE tenant_id = ?", (tenant,))
    registry.close()


def with_files(cli: Cli, value: str) -> None:
    """Have a set delivered that nobody remembers."""
    cli.must("secret", "set", "epsilon", "KEY", stdin=value.encode())
    cli.must("register-tenant", "epsilon", *FILES)
    cli.must("provision", "epsilon")
    forget(cli, "epsilon")


def hollow(admin: VaultwardenAdmin, asked) -> BegunLogin:
    """Begin a login without a helper, so that its secrets are asked for."""
    return BegunLogin(admin, asked.server, asked.organization, None, None)


def flags(number: int, call: tuple[str, ...]) -> tuple[str, ...]:
    loud = ("--verbose",) if number & 1 else ()
    return (*loud, *call, *(("--json",) if number & 2 and "--" not in call else ()))


@pytest.fixture(scope="module")
def reaching() -> dict[tuple[str, str], list[tuple[str, ...]]]:
    """Return the commands that reach each step while nothing fails: only there can it fail."""
    reached: dict[tuple[str, str], list[tuple[str, ...]]] = {step: [] for step in HERE}
    with private_directory() as home, pytest.MonkeyPatch.context() as patch:
        cli = live(Cli(home).ready(), patch)
        now: list[set[tuple[str, str]]] = [set()]
        for step in HERE:
            for kind in adapters()[step[0]]:
                _spy(patch, kind, step, now)
        for call in CALLS:
            now[0] = set()
            cli.run(*call, stdin=b"one\ntwo\nthree\n" if call is LOGIN else b"PIPED=third\n")
            for step in now[0]:
                reached[step].append(call)
    return reached


def _spy(patch, kind: type, step: tuple[str, str], now: list[set[tuple[str, str]]]) -> None:
    real = inspect.getattr_static(kind, step[1], None)
    if not inspect.isfunction(real):
        return

    @functools.wraps(real)
    def seen(*args, **more):
        now[0].add(step)
        return real(*args, **more)

    patch.setattr(kind, step[1], seen)


@pytest.mark.parametrize(("port", "member"), HERE, ids=[".".join(step) for step in HERE])
def test_a_failing_step_repeats_no_secret(lived, monkeypatch, reaching, port, member, capfd):
    """Through every command that reaches it, each with another failure, said another way."""
    # Where none was seen to (a property, an earlier failure's handling) all of them are asked.
    calls = reaching[port, member] or CALLS
    if member == "ahead":
        shared(lived)
    if member.endswith("_files"):
        calls = FILES_CALLS
        with_files(lived, "fifth")
    failed = forced(lived, monkeypatch, (port, member), calls)
    if not failed and calls != CALLS:  # those need what the others do before them
        failed = forced(lived, monkeypatch, (port, member), CALLS)
    captured = capfd.readouterr()
    assert not lived.marks.find((captured.out + captured.err).encode())
    reached = failed or (port, member) in NOT_CALLED
    assert reached, "no command reaches it: prove it another way"


def forced(cli: Cli, monkeypatch, step: tuple[str, str], calls) -> int:
    """Run calls with the step failing each time; return how often it did."""
    marks, value = Marks(), fresh_value()
    cli.marks = marks
    marks.add("in the failure", value)
    typed = [fresh_value() for _ in range(3)]
    marks.add("typed", *typed)
    turn, failed = STEPS.index(step), 0
    for number, call in enumerate(calls, turn):
        saboteur = Saboteur(*step, value, KINDS[number % len(KINDS)])
        with monkeypatch.context() as patch:
            saboteur.arm(patch)
            stdin = "\n".join(typed) if call is LOGIN else "PIPED=third\n"
            result = cli.run(*flags(number // 2, call), stdin=stdin.encode())
        failed += saboteur.failed
        said = result.stdout + result.stderr.encode()
        assert not marks.find(said), (call, said)
        assert b"Traceback" not in said
    assert hunter.in_tree(cli.state, marks) == set()
    return failed


@pytest.mark.parametrize("number", range(len(KINDS)))
def test_every_type_of_failure_keeps_its_words(lived, monkeypatch, number):
    """Where the secret is nearest, while the file is placed; plain, loud, as JSON, and both."""
    marks, value = Marks(), fresh_value()
    marks.add("in the failure", value)
    saboteur = Saboteur("Delivery", "place", value, KINDS[number])
    saboteur.arm(monkeypatch)
    for way in range(4):
        result = lived.run(*flags(way, ("provision", "acme")))
        assert saboteur.failed == way + 1
        assert not marks.find(result.stdout + result.stderr.encode())
    assert hunter.in_tree(lived.state, marks) == set()


def test_the_hunt_sees_a_careless_command(lived, monkeypatch):
    """The control: one that shows what went wrong is caught by the same look."""
    marks, value = Marks(), fresh_value()
    marks.add("in the failure", value)
    Saboteur("Delivery", "place", value, RuntimeError).arm(monkeypatch)
    monkeypatch.setattr("cli.app._internal", lambda error, **_: print(error) or 1)
    result = lived.run("provision", "acme")
    assert marks.find(result.stdout) == {"in the failure"}


def test_the_hunt_sees_a_careless_record(lived, monkeypatch):
    marks, value = Marks(), fresh_value()
    marks.add("in the failure", value)

    def careless(text: str) -> ColibriError:
        return ColibriError("tampered", text)

    Saboteur("Delivery", "place", value, careless).arm(monkeypatch)
    result = lived.run("provision", "acme")
    assert marks.find(result.stderr.encode())
    assert hunter.in_tree(lived.state, marks)


def test_a_copy_of_the_state_holds_no_value_either(lived, tmp_path):
    """What a backup takes: everything but credentials and delivered files, without one value."""
    marks = Marks()
    value = fresh_value()
    marks.add("value", value)
    lived.must("secret", "set", "acme", "KEY", stdin=value.encode())
    lived.must("provision", "acme")
    backup = tmp_path / "backup"
    kept = shutil.ignore_patterns("credentials", ".env")
    shutil.copytree(lived.state, backup, ignore=kept)
    assert hunter.in_tree(backup, marks) == set()
    assert hunter.in_tree(lived.state, marks), "and the delivered file is where it is"
    assert Path(lived.jail_root("acme"), ".env").exists()
