"""Many tenants of one organisation are one session, and no run delivers what is older."""

from __future__ import annotations

import pytest

from tests.kit import fake_bw
from tests.kit.cli import Cli
from tests.kit.fake_bw import FakeBw
from vault_svc.adapters.credentials.store import UriCredentials
from vault_svc.adapters.locks import FileLocks
from vault_svc.hazmat import forked
from vault_svc.services import provision

TENANTS = ("acme", "beta", "zoo")


@pytest.fixture
def fake(cli) -> FakeBw:
    """Three delivered tenants of one organisation."""
    made = FakeBw(cli.home).empty()
    for name in TENANTS:
        made.fill(name, {"KEY": f"first-{name}"})
    UriCredentials().put(f"file:{cli.state}/credentials/vaultwarden", made.account().blob())
    for name in TENANTS:
        cli.register(name, "--source", "vaultwarden")
    cli.must("provision", "--all")
    return made


def logins(fake: FakeBw) -> int:
    return sum(line["argv"][1] == "login" for line in fake.log())


def value(cli: Cli, tenant: str) -> str:
    text = (cli.jail_root(tenant) / "home/app/.env").read_text()
    return next(line.removeprefix("KEY=") for line in text.splitlines() if line.startswith("KEY="))


@pytest.mark.parametrize("batch_size", ["1", "2", "64"])
def test_all_tenants_are_one_session_whatever_the_batch(cli, fake, batch_size):
    cli.settings["COLIBRI_BATCH_SIZE"] = batch_size
    for name in TENANTS:
        fake.fill(name, {"KEY": f"second-{name}"})
    before = logins(fake)
    cli.must("provision", "--all")
    assert logins(fake) == before + 1
    assert [value(cli, name) for name in TENANTS] == [f"second-{name}" for name in TENANTS]


def test_the_bad_item_of_one_is_that_tenants_alone(cli, fake):
    fake.fill("beta", {"not a name": "x"})
    fake.fill("zoo", {"KEY": "second-zoo"})
    result = cli.run("provision", "--all", "--json")
    assert result.status == 9
    told = {item["tenant_id"]: item for item in result.json["items"]}
    assert told["beta"]["error"]["code"] == "secret_name_refused"
    assert [value(cli, name) for name in TENANTS] == ["first-acme", "first-beta", "second-zoo"]


def test_what_was_read_before_a_newer_delivery_is_not_delivered_over_it(cli, fake, monkeypatch):
    """The second batch was read with the first; meanwhile another run delivered its tenant."""
    cli.settings["COLIBRI_BATCH_SIZE"] = "1"
    for name in TENANTS:
        fake.fill(name, {"KEY": f"older-{name}"})
    met = []

    class Overtaken(provision.Batch):
        def run(self, *arguments, **more):
            if not met:
                met.append(True)
                fake.fill("zoo", {"KEY": "newer-zoo"})
                Cli(cli.home).process("provision", "zoo").must()
                assert value(cli, "zoo") == "newer-zoo"
            return super().run(*arguments, **more)

    monkeypatch.setattr(provision, "Batch", Overtaken)
    before = logins(fake)
    cli.must("provision", "--all")
    assert [value(cli, name) for name in TENANTS] == ["older-acme", "older-beta", "newer-zoo"]
    # ours, the other one's, and the one that looked again at what had changed
    assert logins(fake) == before + 3


def test_where_every_tenant_is_busy_no_server_is_asked(cli, fake):
    cli.settings["COLIBRI_LOCK_TIMEOUT_SECONDS"] = "1"
    locks = FileLocks(str(cli.state / "provision.lock"), timeout_seconds=1)
    before = logins(fake)
    with locks.hold("acme"), locks.hold("beta"), locks.hold("zoo"):
        result = cli.process("provision", "--all", "--json")
    assert result.status == 9
    assert {item["error"]["code"] for item in result.json["items"]} == {"busy"}
    assert logins(fake) == before


def test_one_busy_tenant_keeps_nobody_else_waiting(cli, fake):
    cli.settings["COLIBRI_LOCK_TIMEOUT_SECONDS"] = "1"
    locks = FileLocks(str(cli.state / "provision.lock"), timeout_seconds=1)
    for name in TENANTS:
        fake.fill(name, {"KEY": f"second-{name}"})
    with locks.hold("beta"):
        result = cli.process("provision", "--all", "--json")
    assert result.status == 9
    assert [value(cli, name) for name in TENANTS] == ["second-acme", "first-beta", "second-zoo"]
    cli.must("provision", "--all")
    assert value(cli, "beta") == "second-beta"


@pytest.fixture
def shared(cli, fake) -> tuple[str, ...]:
    """Enough tenants that several processes share a run."""
    more = ("mid", "odd")
    for name in more:
        fake.fill(name, {"KEY": f"first-{name}"})
        cli.register(name, "--source", "vaultwarden")
    cli.settings |= {"COLIBRI_BATCH_SIZE": "1", "COLIBRI_PROVISION_PROCESSES": "2"}
    return (*TENANTS, *more)


def test_several_processes_share_one_session(cli, fake, shared, monkeypatch):
    parts = []
    real = forked.spread
    monkeypatch.setattr(forked, "spread", lambda cut, act: real(parts.extend(cut) or cut, act))
    for name in shared:
        fake.fill(name, {"KEY": f"second-{name}"})
    fake.fill("odd", {"not a name": "x"})
    before = logins(fake)
    result = cli.run("provision", "--all", "--json")
    assert [len(part) for part in parts] == [3, 2]
    assert logins(fake) == before + 1
    told = {item["tenant_id"]: item["result"] for item in result.json["items"]}
    assert told == dict.fromkeys(shared, "delivered") | {"odd": "failed"}
    assert [value(cli, name) for name in shared if name != "odd"] == [
        f"second-{name}" for name in shared if name != "odd"
    ]
    assert not (cli.jail_root("odd") / "home/app/.env").exists()
    cli.must("audit", "verify")


def test_where_the_source_fails_every_tenant_of_a_shared_run_says_so(cli, fake, shared):
    fake.plan["password"] = "another"
    fake.save()
    before = logins(fake)
    result = cli.run("provision", "--all", "--json")
    assert result.status == 9
    assert {i["tenant_id"]: i["error"]["code"] for i in result.json["items"]} == dict.fromkeys(
        shared, "source_auth_failed"
    )
    rows = cli.must("list-tenants", "--json").json["items"]
    assert all(row["last_error"].startswith("source_auth_failed") for row in rows)
    lines = cli.must("audit", "tail", "--json").json["items"]
    assert [line["event"] for line in lines[-5:]] == ["delivery_failed"] * 5
    assert logins(fake) == before + 1


def test_repair_asks_nobody_while_nothing_drifted(cli, fake, shared):
    cli.must("provision", "--all")
    before = logins(fake)
    cli.must("provision", "--all", "--repair")
    assert logins(fake) == before


def test_what_a_shared_run_read_is_not_delivered_over_a_newer_delivery(
    cli, fake, shared, monkeypatch
):
    """All was read before the parts began; meanwhile another run delivered one of theirs."""
    real = forked.spread
    cli.must("provision", "--all")
    for name in shared:
        fake.fill(name, {"KEY": f"older-{name}"})

    def overtaken(parts, act):
        fake.fill("zoo", {"KEY": "newer-zoo"})
        Cli(cli.home).process("provision", "zoo").must()
        return real(parts, act)

    monkeypatch.setattr(forked, "spread", overtaken)
    before = logins(fake)
    cli.must("provision", "--all")
    assert value(cli, "zoo") == "newer-zoo"
    assert value(cli, "odd") == "older-odd"
    assert logins(fake) == before + 3


def test_ignored_and_shared_items_are_settings(cli, fake):
    fake.fill("beta", {"not a name": "x"})
    odd = next(row["id"] for row in fake.plan["lists"]["items"] if row["name"] == "not a name")
    cli.settings["COLIBRI_IGNORED_ITEMS"] = odd
    cli.must("provision", "beta", "--allow-empty")
    assert "KEY" not in (cli.jail_root("beta") / "home/app/.env").read_text()


def test_left_out_is_counted_and_named_only_when_asked(cli, fake):
    item = fake.plan["lists"]["items"][0]
    item["fields"] = [{"type": 1, "name": "f", "value": fake_bw.VALUE}]
    fake.plan["synced"]["ciphers_ciphers"][item["id"]]["fields"] = [{"type": 1, "value": "2.x"}]
    fake.save()
    said = cli.must("provision", "acme")
    assert "left out, being no variables: 1" in said.stderr
    assert item["id"] not in said.stderr
    named = cli.must("-v", "provision", "acme")
    assert item["id"] in named.stderr
    assert fake_bw.VALUE not in named.stderr + named.text
