"""The real bw and a server that goes wrong: at each step the jail stays as it was.

One command line with one delivered tenant is shared by all; each fault is followed by the same
questions: code, status, the jail's file, private directories, processes, and a hunt for secrets.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit import bw
from tests.kit.cli import Cli, Result
from tests.kit.places import private_directory
from tests.kit.vaultwarden import Cut, Double, Edit, Redirect, Reset, Slow, Status, Truncated
from tests.kit.vaultwarden.faults import Fault
from tests.vaultwarden import place
from vault_svc.adapters.sources.vaultwarden import helper
from vault_svc.errors import CODES

pytestmark = pytest.mark.xdist_group("vaultwarden")

VALUE = "canary-value-0123456789"
TENANTS = ("acme", "beta")
Arm = Callable[[Double], None]


@dataclass
class Ground:
    """A command line with an account, two delivered tenants, and their server."""

    cli: Cli
    double: Double
    collections: dict[str, str]
    items: dict[str, str]

    def file(self, tenant: str) -> Path:
        return self.cli.jail_root(tenant) / "home/app/.env"

    def identity(self, tenant: str) -> tuple[int, int, bytes]:
        found = self.file(tenant).stat()
        return found.st_ino, found.st_mtime_ns, self.file(tenant).read_bytes()

    def secrets(self) -> list[str]:
        return [VALUE, self.double.client_secret, self.double.password]

    def nothing_is_left(self) -> None:
        assert place.left_behind(place.at(self.cli)) == []
        assert place.still_running(place.at(self.cli)) == []

    def nothing_is_told(self, result: Result) -> None:
        told = result.text + result.stderr
        assert not [secret for secret in self.secrets() if secret in told]
        allowed = {self.file(tenant) for tenant in TENANTS}
        allowed.add(self.cli.state / "credentials" / "vaultwarden")
        for path in self.cli.state.rglob("*"):
            if path.is_file() and path not in allowed:
                content = path.read_bytes()
                assert not [s for s in self.secrets() if s.encode() in content], path


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with (
        private_directory() as home,
        private_directory() as keys,
        Double(keys) as double,
        pytest.MonkeyPatch.context() as patch,
    ):
        # Half a second of hashing before each of them; test_helper.py is about that.
        patch.setattr(helper, "verify", lambda *_, **__: None)
        collections = {name: double.add_collection(name) for name in TENANTS}
        items = {
            name: double.add_login(collection, "API_KEY", f"{VALUE}-{name}")
            for name, collection in collections.items()
        }
        cli = Cli(home).ready()
        place.store_login(cli, bw.installed(), double)
        for name in TENANTS:
            cli.register(name, "--source", "vaultwarden")
        cli.must("provision", "--all")
        yield Ground(cli, double, collections, items)


@contextlib.contextmanager
def settings(cli: Cli, **more: str) -> Iterator[None]:
    cli.settings.update(more)
    try:
        yield
    finally:
        for name in more:
            del cli.settings[name]


def failing(ground: Ground, code: str, tenant: str = "acme") -> Result:
    """Provision a tenant that must fail with code, and ask every question there is."""
    before = {name: ground.identity(name) for name in TENANTS}
    try:
        result = ground.cli.run("provision", tenant)
    finally:
        ground.double.faults.clear()
        place.forget_circuit(ground.cli)
    assert result.status == CODES[code].status, result.stderr
    assert result.error["code"] == code
    assert result.error["hint"]
    assert {name: ground.identity(name) for name in TENANTS} == before
    ground.nothing_is_left()
    ground.nothing_is_told(result)
    return result


# Each kind of failure at each step in CI; test_session_faults.py has the rest without a bw.
FAULTS: list[tuple[str, Fault, str]] = [
    ("token", Status(401), "source_auth_failed"),
    ("token", Status(429), "source_rate_limited"),
    ("token", Status(500), "source_unreachable"),
    ("token", Truncated(), "source_incomplete"),
    ("config", Status(403), "source_unreachable"),
    ("config", Status(429), "source_rate_limited"),
    ("config", Reset(), "source_unreachable"),
    ("sync", Status(403), "source_forbidden"),
    ("sync", Status(429), "source_rate_limited"),
    ("sync", Status(502, html=True), "source_unreachable"),
    ("sync", Cut(), "source_incomplete"),
]
ALIKE: list[tuple[str, Fault, str]] = [
    ("token", Status(403), "source_forbidden"),
    ("token", Status(502, html=True), "source_unreachable"),
    ("token", Cut(), "source_incomplete"),
    ("token", Reset(), "source_unreachable"),
    ("config", Status(401), "source_unreachable"),
    ("config", Status(500), "source_unreachable"),
    ("config", Truncated(), "source_unreachable"),
    ("sync", Status(401), "source_auth_failed"),
    ("sync", Status(500), "source_unreachable"),
    ("sync", Truncated(), "source_incomplete"),
    ("sync", Reset(), "source_unreachable"),
]


def _steps():
    for step, fault, code in FAULTS + ALIKE:
        marks = [pytest.mark.full] if (step, fault, code) in ALIKE else []
        yield pytest.param(step, fault, code, id=f"{step}-{fault}", marks=marks)


@pytest.mark.parametrize(("step", "fault", "code"), list(_steps()))
def test_a_server_that_fails_at_a_step(ground, step, fault, code):
    ground.double.faults.at(step, fault)
    with settings(
        ground.cli, COLIBRI_BW_BACKOFF_SECONDS="60", COLIBRI_BW_BACKOFF_LIMIT_SECONDS="1"
    ):
        failing(ground, code)


AT_UNLOCK = [
    Status(401),
    pytest.param(Status(403), marks=pytest.mark.full),
    pytest.param(Status(500), marks=pytest.mark.full),
    Reset(),
    Slow(40),
]


@pytest.mark.parametrize("fault", AT_UNLOCK, ids=str)
def test_a_server_that_fails_while_bw_unlocks(ground, fault):
    """bw asks for the configuration again meanwhile, and may or may not wait for it: bw.md 4.1."""
    ground.double.faults.at("config", fault, after=1)
    _read_whole_or_refused(ground)


def _read_whole_or_refused(ground: Ground) -> None:
    before = {name: ground.identity(name) for name in TENANTS}
    with settings(ground.cli, COLIBRI_BW_TIMEOUT_SECONDS="7"):
        result = ground.cli.run("provision", "acme")
    ground.double.faults.clear()
    place.forget_circuit(ground.cli)
    assert result.status in {0, 4, 6}, result.stderr
    assert {name: ground.identity(name) for name in TENANTS} == before
    ground.nothing_is_left()
    ground.nothing_is_told(result)


def test_a_certificate_that_becomes_wrong_after_the_login(ground):
    """Connections that were made before may go on; no new one is."""
    double, right = ground.double, ground.double._certificate
    double.faults.at("token", Edit(lambda _: double.show_certificate("unknown")))
    try:
        _read_whole_or_refused(ground)
    finally:
        double._server.show(right)


def test_a_server_that_leads_elsewhere_is_not_followed_past_our_authority(ground, tmp_path):
    """bw follows a redirect with the key (SECURITY.md), unless the certificate there is no good."""
    with Double(tmp_path, seed="elsewhere") as other:
        for step, path in (("sync", "/api/sync"), ("token", "/identity/connect/token")):
            ground.double.faults.at(step, Redirect(f"{other.url}{path}"))
            failing(ground, "server_mismatch")
        assert other.log.entries == ()


def test_a_server_that_is_slow_to_tell_its_configuration_is_not_waited_for(ground):
    ground.double.faults.at("config", Slow(40))
    try:
        ground.cli.must("provision", "acme")
    finally:
        ground.double.faults.clear()
    ground.nothing_is_left()


@pytest.mark.parametrize("step", ["token", "sync"])
def test_a_server_that_is_slow(ground, step):
    ground.double.faults.at(step, Slow(40))
    with settings(ground.cli, COLIBRI_BW_TIMEOUT_SECONDS="9"):
        assert "9 seconds" in failing(ground, "helper_timeout").error["message"]


@pytest.mark.parametrize("wrong", ["unknown", "host", "expired"])
def test_a_certificate_that_is_wrong(ground, wrong):
    right = ground.double._certificate
    ground.double.show_certificate(wrong)
    try:
        failing(ground, "server_mismatch")
    finally:
        ground.double._server.show(right)


def test_a_server_that_is_not_there(ground):
    ground.double.close()
    try:
        failing(ground, "source_unreachable")
    finally:
        ground.double.reopen()


def test_a_sync_that_fails_once_is_done_again(ground):
    ground.double.faults.at("sync", Status(500), times=1)
    ground.cli.must("provision", "acme")
    ground.nothing_is_left()


def emptied(key: str) -> Callable[[dict], None]:
    return lambda document: document.__setitem__(key, [])


def stranger(document: dict) -> None:
    document["profile"]["organizations"] = []


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (emptied("collections"), "collection_not_found"),
        (emptied("ciphers"), "collection_empty"),
        (stranger, "source_forbidden"),
        (lambda document: document["profile"]["organizations"][0].update(enabled=False),
         "source_forbidden"),
        (lambda document: document.pop("profile"), "source_incomplete"),
    ],
    ids=["no-collections", "no-ciphers", "no-organization", "disabled", "no-profile"],
)  # fmt: skip
def test_a_sync_that_says_less_than_it_should(ground, edit, code):
    ground.double.faults.at("sync", Edit(edit))
    failing(ground, code)


def test_two_collections_of_one_name_are_told_apart_by_the_registered_id(ground):
    second = ground.double.add_collection("acme")
    ground.double.add_login(second, "API_KEY", "of the second")
    ground.cli.must("provision", "acme")
    assert VALUE.encode() in ground.file("acme").read_bytes()
    refused = ground.cli.run("update-tenant", "beta", "--collection", "acme")
    assert (refused.status, refused.error["code"]) == (6, "collection_ambiguous")
    ground.double.remove_collection(second)


def test_a_renamed_collection_is_a_mismatch(ground):
    ground.double.rename_collection(ground.collections["acme"], "another")
    try:
        failing(ground, "server_mismatch")
    finally:
        ground.double.rename_collection(ground.collections["acme"], "acme")


def test_an_item_that_another_collection_has_too_is_refused(ground):
    acme, beta = ground.collections["acme"], ground.collections["beta"]
    ground.double.move(ground.items["acme"], [acme, beta])
    try:
        failing(ground, "secret_shared")
    finally:
        ground.double.move(ground.items["acme"], [acme])


def test_a_variable_twice_is_refused(ground):
    second = ground.double.add_note(ground.collections["acme"], "n", "API_KEY=2")
    failing(ground, "secret_ambiguous")
    ground.double.delete(second)


@pytest.mark.parametrize("part", ["key", "name", "password"])
def test_what_cannot_be_decrypted_fails_its_tenant_alone(ground, part):
    spoiled = ground.double.add_login(ground.collections["acme"], "EXTRA", "x")
    ground.double.corrupt(spoiled, part)
    try:
        before = ground.identity("acme")
        result = ground.cli.run("provision", "--all", "--json")
        assert result.status == 9
        told = {item["tenant_id"]: item for item in result.json["items"]}
        assert told["acme"]["error"]["code"] == "source_incomplete"
        assert told["beta"]["result"] == "unchanged"
        assert ground.identity("acme") == before
        ground.nothing_is_left()
        ground.nothing_is_told(result)
    finally:
        ground.double.delete(spoiled)


def test_another_organisation_key_is_noticed(ground):
    row = ground.double.store.memberships[ground.double.organization.id]
    right = row.key
    ground.double.swap_organization_key()
    try:
        failing(ground, "source_incomplete")
    finally:
        row.key = right


def test_wrong_credentials_are_tried_once_and_then_not_until_somebody_acts(ground):
    right, ground.double.client_secret = ground.double.client_secret, "another-secret-entirely"
    try:
        ground.double.log.clear()
        first = ground.cli.run("provision", "acme")
        second = ground.cli.run("provision", "--all", "--json")
        assert (first.status, first.error["code"]) == (6, "source_auth_failed")
        assert {i["error"]["code"] for i in second.json["items"]} == {"source_auth_failed"}
        assert ground.double.log.count("token") == 1
    finally:
        ground.double.client_secret = right
    assert ground.cli.run("provision", "acme").error["code"] == "source_auth_failed"
    assert ground.double.log.count("token") == 1
    ground.cli.must("source", "test", "vaultwarden")
    ground.cli.must("provision", "acme")


def test_a_changed_master_password_is_noticed_at_unlock(ground):
    before = ground.double.password
    ground.double.change_password("another master password")
    try:
        failing(ground, "source_auth_failed")
    finally:
        ground.double.change_password(before)


def test_another_server_that_bw_knew_is_never_asked(ground, tmp_path):
    """bw's own state in HOME, or in a directory the environment names, is not looked at."""
    with Double(tmp_path, seed="elsewhere") as other:
        state = {"global_environment_environment": {"urls": {"base": other.url}}}
        planted = [ground.cli.home / ".config" / "Bitwarden CLI", ground.cli.home / "planted"]
        for where in planted:
            where.mkdir(parents=True, exist_ok=True)
            (where / "data.json").write_text(json.dumps(state))
        with settings(ground.cli, BITWARDENCLI_APPDATA_DIR=str(planted[1])):
            ground.cli.must("provision", "acme")
        assert other.log.entries == ()


def test_a_session_is_one_login_under_one_device(ground):
    ground.double.log.clear()
    for _ in range(2):
        ground.cli.must("provision", "--all")
    tokens = [entry for entry in ground.double.log.entries if entry.step == "token"]
    assert [entry.device for entry in tokens] == [place.DEVICE] * 2
    assert [entry.seen for entry in tokens] == [frozenset({"client_secret"})] * 2
    others = [entry for entry in ground.double.log.entries if entry.step != "token"]
    assert not [entry for entry in others if entry.seen]


@pytest.mark.root
@pytest.mark.parametrize("size", ["4k", "16k"])
def test_a_full_private_directory(ground, tmp_path, size):
    with private_directory() as where:
        mounted = subprocess.run(
            ["/bin/mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "colibri-test", where],
            check=False, capture_output=True,
        )  # fmt: skip
        if mounted.returncode:
            pytest.skip("this host lets nobody mount")
        try:
            with settings(ground.cli, COLIBRI_BW_RUNTIME_DIR=str(where)):
                failing(ground, "no_space")
            assert os.listdir(where) == []
        finally:
            subprocess.run(["/bin/umount", where], check=True)
