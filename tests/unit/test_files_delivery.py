"""A tenant with one file per secret, by the real command: every promise of the one `.env` holds."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from pathlib import Path

import pytest

from tests.kit.arena import is_root
from tests.kit.cli import Cli
from vault_svc.adapters.delivery import ConfinedDelivery
from vault_svc.adapters.registry.writes import TenantWrites
from vault_svc.hazmat import confine, confine_files, confine_stage
from vault_svc.hazmat.confine_error import refusal

KEY = "-----BEGIN KEY-----\n'\"$x`\\\n-----END KEY-----"  # secret set takes one final newline off
SET = {"API_KEY": "first-value", "TLS_KEY": KEY}


@pytest.fixture
def acme(cli: Cli) -> Cli:
    """A registered tenant of two secrets, nothing delivered yet."""
    register(cli, "acme", SET)
    return cli


def register(cli: Cli, tenant: str, values: dict[str, str], *options: str) -> None:
    for name, value in values.items():
        put(cli, name, value, tenant)
    given = ("--create-jail", "--tier", "scratch", "--delivery", "files", *options)
    cli.must("register-tenant", tenant, *given)


def put(cli: Cli, name: str, value: str, tenant: str = "acme") -> None:
    cli.must("secret", "set", tenant, name, stdin=value.encode())


def secrets(cli: Cli, tenant: str = "acme") -> Path:
    return cli.jail_root(tenant) / "secrets"


def contents(cli: Cli, tenant: str = "acme") -> dict[str, str]:
    return {each.name: each.read_text() for each in secrets(cli, tenant).iterdir()}


def identities(cli: Cli) -> dict[str, tuple[int, int]]:
    return {e.name: (e.stat().st_ino, e.stat().st_mtime_ns) for e in secrets(cli).iterdir()}


def document(cli: Cli, *argv: str):
    return cli.run(*argv, "--json").json


def row(cli: Cli, tenant: str = "acme"):
    return document(cli, "show-tenant", tenant)["tenant"]


def drift(cli: Cli) -> list[str]:
    return document(cli, "verify", "acme")["items"][0]["drift"]


def intents(cli: Cli) -> int:
    with sqlite3.connect(cli.state / "colibri.sqlite") as registry:
        ((count,),) = registry.execute("SELECT count(*) FROM intents").fetchall()
    registry.close()
    return int(count)


def test_each_secret_is_a_file_of_the_owner_alone(acme):
    answer = acme.must("provision", "acme", "--json").json
    assert contents(acme) == SET
    owner = 1000 if is_root() else os.geteuid()
    top = secrets(acme).stat()
    assert (stat.S_IMODE(top.st_mode), top.st_uid) == (0o700, owner)
    for each in secrets(acme).iterdir():
        status = each.stat()
        assert (stat.S_IMODE(status.st_mode), status.st_uid, status.st_nlink) == (0o400, owner, 1)
    receipt = answer["receipt"]
    assert (receipt["mode"], receipt["path"]) == ("0400", "/secrets")
    assert receipt["keys"] == sorted(SET)
    assert receipt["size"] == sum(len(value) for value in SET.values())
    assert row(acme)["delivery"] == "files"


def test_unchanged_input_changes_no_byte_and_no_time(acme):
    acme.must("provision", "acme")
    before, top = identities(acme), secrets(acme).stat()
    for call in (("provision", "acme"), ("provision", "--all"), ("provision", "acme", "--repair")):
        acme.must(*call)
        assert identities(acme) == before
        assert secrets(acme).stat().st_mtime_ns == top.st_mtime_ns
    assert row(acme)["generation"] == 1
    acme.must("verify", "acme")


def test_only_what_changed_is_written_and_what_left_is_removed(acme):
    acme.must("provision", "acme")
    before = identities(acme)
    acme.must("secret", "unset", "acme", "API_KEY")
    put(acme, "NEW", "third")
    acme.must("provision", "acme")
    assert contents(acme) == {"NEW": "third", "TLS_KEY": KEY}
    assert identities(acme)["TLS_KEY"] == before["TLS_KEY"]
    assert row(acme)["generation"] == 2


def _bytes(path: Path) -> None:
    path.chmod(0o600)
    path.write_text("forged")
    path.chmod(0o400)


def _mode(path: Path) -> None:
    path.chmod(0o444)


def _link(path: Path) -> None:
    os.link(path, path.parent.parent / "copy")


def _symlink(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (_bytes, "bytes"),
        (_mode, "mode"),
        (_link, "links"),
        (_symlink, "replaced by symlink"),
        (Path.unlink, "missing"),
    ],
)
def test_verify_names_the_file_and_repair_mends_it_alone(acme, spoil, word):
    acme.must("provision", "acme")
    before = identities(acme)
    spoil(secrets(acme) / "API_KEY")
    assert acme.run("verify", "acme").status == 8
    assert drift(acme) == [f"API_KEY: {word}"]
    acme.must("provision", "acme", "--repair")
    assert contents(acme) == SET
    assert identities(acme)["TLS_KEY"] == before["TLS_KEY"]
    acme.must("verify", "acme")


def test_a_directory_opened_to_others_is_drift_and_nothing_is_put_there(acme):
    acme.must("provision", "acme")
    secrets(acme).chmod(0o777)
    assert drift(acme) == ["directory: mode"]
    assert acme.run("provision", "acme").error["code"] == "unsafe_parent"
    secrets(acme).chmod(0o700)
    acme.must("provision", "acme")
    acme.must("verify", "acme")


def test_a_directory_in_the_jail_that_is_gone_is_made_again(acme):
    acme.must("provision", "acme")
    secrets(acme).rename(acme.jail_root("acme") / "moved")
    assert drift(acme) == ["missing"]
    acme.must("provision", "acme")
    assert contents(acme) == SET


@pytest.mark.parametrize("action", ["suspend", "revoke", "offboard"])
def test_a_removal_takes_every_file_and_the_directory(acme, action):
    acme.must("provision", "acme")
    answer = acme.must(action, "acme", "--json").json
    assert (answer["found"], answer["absent"]) == ("files", True)
    assert not secrets(acme).exists()
    assert acme.must(action, "acme", "--json").json["changed"] is False
    acme.must("verify", "acme")


def test_a_removal_leaves_the_tenants_own_files(acme):
    acme.must("provision", "acme")
    for name in ("notes", "README"):
        (secrets(acme) / name).write_text("mine")
    acme.must("verify", "acme")
    acme.must("revoke", "acme")
    assert contents(acme) == {"notes": "mine", "README": "mine"}
    acme.must("verify", "acme")
    assert acme.must("revoke", "acme", "--json").json["changed"] is False
    acme.must("resume", "acme")
    acme.must("provision", "acme")
    assert contents(acme) == SET | {"notes": "mine", "README": "mine"}


def test_a_secret_put_back_after_a_revocation_is_seen_and_removed(acme):
    """By a name that was delivered before; the tenant's other names are its own."""
    acme.must("provision", "acme")
    acme.must("revoke", "acme")
    secrets(acme).mkdir()
    (secrets(acme) / "API_KEY").write_text("first-value")
    assert acme.run("verify", "acme").status == 8
    acme.must("revoke", "acme")
    assert not secrets(acme).exists()


@pytest.mark.parametrize(("first", "second"), [("file", "files"), ("files", "file")])
def test_another_way_of_delivery_removes_what_the_first_left(cli, first, second):
    register(cli, "acme", {"API_KEY": "x"}, "--delivery", first)
    cli.must("provision", "acme")
    both = {"file": cli.jail_root("acme") / ".env", "files": secrets(cli)}
    assert both[first].exists()
    cli.must("update-tenant", "acme", "--delivery", second)
    assert not both[first].exists(), "announced before the old one was gone"
    assert not both[second].exists()
    assert row(cli)["status"] == "registered"
    cli.must("provision", "acme")
    assert [each.exists() for each in (both[first], both[second])] == [False, True]
    cli.must("verify", "acme")
    assert cli.must("revoke", "acme", "--json").json["found"] == second


def test_a_place_that_was_chosen_is_not_taken_over_by_another_way(cli):
    register(cli, "acme", {"API_KEY": "x"}, "--delivery", "file", "--env-path", "/home/app/.env")
    cli.must("provision", "acme")
    assert cli.run("update-tenant", "acme", "--delivery", "files").error["code"] == "usage"
    assert (cli.jail_root("acme") / "home/app/.env").exists()
    moved = ("--delivery", "files", "--env-path", "/home/app/secrets")
    cli.must("update-tenant", "acme", *moved)
    cli.must("provision", "acme")
    assert os.listdir(cli.jail_root("acme") / "home/app") == ["secrets"]


def test_an_unknown_way_of_delivery_is_wrong_usage(acme):
    for call in ("register-tenant", "update-tenant"):
        answer = acme.run(call, "acme" if call.startswith("u") else "beta", "--delivery", "mail")
        assert (answer.status, answer.error["code"]) == (2, "usage")
        assert "file, files" in answer.error["hint"]


@pytest.mark.root
def test_another_owner_gets_a_directory_of_its_own(acme):
    acme.must("provision", "acme")
    acme.must("update-tenant", "acme", "--owner", "1234:1234")
    assert not secrets(acme).exists()
    acme.must("provision", "acme")
    assert {each.stat().st_uid for each in (secrets(acme), *secrets(acme).iterdir())} == {1234}
    assert contents(acme) == SET


def test_a_key_rotation_is_no_drift_and_still_names_files(acme):
    acme.must("provision", "acme")
    acme.must("key", "rotate", "host")
    acme.must("verify", "acme")
    assert acme.must("provision", "acme", "--json").json["result"] == "unchanged"
    _bytes(secrets(acme) / "TLS_KEY")
    assert drift(acme) == ["TLS_KEY: bytes"]


def test_neither_receipt_nor_log_tells_equal_values_or_a_plain_digest(acme):
    import hashlib

    put(acme, "TWIN", "first-value")
    acme.must("provision", "acme")
    kept = b"".join(
        each.read_bytes() for each in acme.state.rglob("*") if each.is_file() and "jails" not in
        each.parts
    )  # fmt: skip
    with sqlite3.connect(acme.state / "colibri.sqlite") as registry:
        ((parts,),) = registry.execute("SELECT parts FROM deliveries").fetchall()
    registry.close()
    import json

    assert len(set(json.loads(parts))) == 3
    for value in (b"first-value", KEY.encode()):
        assert hashlib.sha256(value).hexdigest().encode() not in kept
        assert value not in kept


def test_an_empty_collection_takes_nothing_away_unless_told(acme):
    acme.must("provision", "acme")
    for name in SET:
        acme.must("secret", "unset", "acme", name)
    assert acme.run("provision", "acme").error["code"] == "collection_empty"
    assert contents(acme) == SET
    acme.must("provision", "acme", "--allow-empty")
    assert contents(acme) == {}
    assert document(acme, "provision", "acme", "--allow-empty")["result"] == "unchanged"
    acme.must("verify", "acme")


def test_a_batch_has_tenants_of_both_ways(acme):
    acme.tenant("beta", BETA="x")
    register(acme, "gamma", {"GAMMA": "y"})
    (acme.jail_root("gamma") / "secrets").mkdir(mode=0o777)
    (acme.jail_root("gamma") / "secrets").chmod(0o777)
    result = acme.run("provision", "--all", "--json")
    assert result.status == 9
    found = {item["tenant_id"]: item["result"] for item in result.json["items"]}
    assert found == {"acme": "delivered", "beta": "delivered", "gamma": "failed"}
    assert contents(acme) == SET


def test_a_dry_run_changes_nothing(acme):
    acme.must("provision", "acme", "--dry-run")
    assert not secrets(acme).exists()


def test_the_hook_delivers_alike(acme):
    call = ("hook", "run", "--jail", "acme", "--root", str(acme.jail_root("acme")), "--json")
    assert acme.must(*call).json["result"] == "delivered"
    assert contents(acme) == SET
    assert acme.must(*call).json["result"] == "unchanged"
    (secrets(acme) / "API_KEY").unlink()
    (secrets(acme) / "API_KEY").mkdir()
    assert acme.run(*call).json["error"]["code"] == "target_not_regular"


def test_an_agent_reads_its_files_and_has_nothing_in_its_environment(acme):
    command = 'test -z "$API_KEY" && cat secrets/API_KEY'
    ran = acme.process("spawn-agent", "acme", "--", "/bin/sh", "-c", command)
    assert (ran.status, ran.stdout) == (0, b"first-value"), ran.stderr


# Crashes. Two kinds: the receipt was never written, or the set was cut short.


def test_a_set_without_its_receipt_is_adopted_and_synced_first(acme, monkeypatch):
    acme.must("provision", "acme")
    put(acme, "API_KEY", "second")
    with monkeypatch.context() as patch:
        patch.setattr(TenantWrites, "commit", _dies)
        assert acme.run("provision", "acme").status == 1
    before, synced, sync = identities(acme), [], os.fsync

    def noted(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)
        sync(fd)

    monkeypatch.setattr(os, "fsync", noted)
    assert acme.must("provision", "acme", "--json").json["result"] == "adopted"
    assert identities(acme) == before
    wanted = {number for number, _ in before.values()} | {secrets(acme).stat().st_ino}
    assert wanted <= set(synced)
    assert row(acme)["generation"] == 2


def test_a_set_cut_short_has_no_forgotten_file_afterwards(acme, monkeypatch):
    """NEW was placed, then colibri died, then NEW left the collection: only the intent knows."""
    acme.must("provision", "acme")
    put(acme, "NEW", "third")
    with monkeypatch.context() as patch:
        patch.setattr(ConfinedDelivery, "_still_there", _dies)
        assert acme.run("provision", "acme").status == 1
    assert "NEW" in contents(acme)
    assert drift(acme) == ["NEW: unexpected file"]
    acme.must("secret", "unset", "acme", "NEW")
    acme.must("provision", "acme")
    assert contents(acme) == SET
    assert intents(acme) == 0


@pytest.mark.parametrize("action", ["suspend", "update-tenant"])
def test_a_set_cut_short_is_removed_by_what_was_announced(acme, monkeypatch, action):
    monkeypatch.setattr(ConfinedDelivery, "_still_there", _dies)
    assert acme.run("provision", "acme").status == 1
    monkeypatch.undo()
    assert contents(acme) == SET
    acme.must(action, "acme", *(() if action == "suspend" else ("--env-path", "/other")))
    assert not secrets(acme).exists()


def test_a_failure_before_the_first_name_leaves_the_set_and_no_intent(acme, monkeypatch):
    acme.must("provision", "acme")
    before = identities(acme)
    put(acme, "API_KEY", "second")
    put(acme, "NEW", "third")
    real, staged = confine_stage.stage, []

    def full(parent, wanted, shown):
        if staged:
            raise OSError(28, "no space")
        staged.append(wanted)
        return real(parent, wanted, shown)

    monkeypatch.setattr(confine_stage, "stage", full)
    assert acme.run("provision", "acme").error["code"] == "no_space"
    assert identities(acme) == before
    assert intents(acme) == 0
    monkeypatch.undo()
    acme.must("provision", "acme")
    assert row(acme)["generation"] == 2


def test_a_failure_between_two_names_keeps_the_intent_and_the_next_run_goes_on(acme, monkeypatch):
    real, named = confine.publish, []

    def stuck(staged, parent, name):
        if named:
            raise OSError(30, "read only")
        named.append(name)
        return real(staged, parent, name)

    monkeypatch.setattr(confine, "publish", stuck)
    assert acme.run("provision", "acme").error["code"] == "read_only"
    assert list(contents(acme)) == named == ["API_KEY"]
    assert intents(acme) == 1
    kept = identities(acme)
    monkeypatch.undo()
    acme.must("provision", "acme")
    assert contents(acme) == SET
    assert identities(acme)["API_KEY"] == kept["API_KEY"]
    assert intents(acme) == 0


def test_what_could_not_be_read_back_for_lack_of_descriptors_stays(acme, monkeypatch):
    acme.must("provision", "acme")
    put(acme, "API_KEY", "second")

    def exhausted(*arguments):
        raise refusal(OSError(errno.EMFILE, "too many"), "x")

    monkeypatch.setattr(confine_files, "_read_back", exhausted)
    assert acme.run("provision", "acme").error["code"] == "busy"
    assert contents(acme) == SET | {"API_KEY": "second"}
    placed = identities(acme)
    monkeypatch.undo()
    assert acme.must("provision", "acme", "--json").json["result"] == "adopted"
    assert identities(acme) == placed


def test_more_files_than_are_open_at_once_are_delivered(acme, monkeypatch):
    monkeypatch.setattr(confine_files, "MAX_STAGED", 2)
    stdin = "".join(f"KEY_{number}=value-{number}\n" for number in range(7))
    acme.must("secret", "import", "acme", "-", stdin=stdin.encode())
    acme.must("provision", "acme")
    assert len(contents(acme)) == 9
    acme.must("verify", "acme")


def _dies(*_: object, **__: object) -> None:
    raise RuntimeError("the power went")
