"""In which order colibri acts, and what it does not do: the real command over the real adapters.

Each of these is a rule that a mutation breaks on purpose (tests/mutation).
"""

from __future__ import annotations

import json
import sqlite3

import pytest

from vault_svc.adapters.audit.jsonl import JsonlAudit
from vault_svc.adapters.delivery import ConfinedDelivery
from vault_svc.adapters.locks import FileLocks
from vault_svc.adapters.registry.lazy import LazyRegistry
from vault_svc.adapters.sources.embedded import EmbeddedSource
from vault_svc.errors import ColibriError

PLACE, REMOVE = "file placed", "file removed"
KEY = "first-value"


@pytest.fixture
def acme(cli):
    """A tenant with a delivered file."""
    cli.file = cli.tenant("acme", API_KEY=KEY)
    cli.must("provision", "acme")
    return cli


@pytest.fixture
def acts(monkeypatch) -> list[str]:
    """The acts that change something, in their order, as they are done."""
    done: list[str] = []

    def watch(kind, method, words):
        real = getattr(kind, method)

        def watched(self, *arguments, **options):
            result = real(self, *arguments, **options)
            done.extend(words(*arguments, **options))
            return result

        monkeypatch.setattr(kind, method, watched)

    watch(JsonlAudit, "append", lambda entries: [f"audit {entry.event}" for entry in entries])
    watch(EmbeddedSource, "change", lambda *_, **__: ["store"])
    watch(ConfinedDelivery, "place", lambda *_: [PLACE])
    watch(ConfinedDelivery, "remove", lambda *_: [REMOVE])
    watch(LazyRegistry, "announce", lambda *_: ["intent"])
    watch(LazyRegistry, "commit", lambda *_, **__: ["receipt"])
    watch(LazyRegistry, "close", lambda *_, **__: ["closed"])
    return done


def tenant(cli) -> dict:
    return cli.must("show-tenant", "acme", "--json").json["tenant"]


def change(cli, value: str = "second-value") -> None:
    cli.must("secret", "set", "acme", "API_KEY", stdin=value.encode())


def broken(*_, **__):
    raise ColibriError("audit_unwritable", "planted", hint="planted")


def test_a_delivery_is_announced_in_both_places_before_it_is_done(acme, acts):
    change(acme)
    del acts[:]
    acme.must("provision", "acme")
    for before in ("intent", "audit will_deliver"):
        assert acts.index(before) < acts.index(PLACE), acts


def test_a_receipt_is_recorded_only_after_its_file_is_there(acme, acts):
    change(acme)
    acme.must("provision", "acme")
    for after in ("receipt", "audit delivered"):
        assert acts.index(PLACE) < acts.index(after), acts


def test_a_removal_is_announced_before_and_recorded_after_it_is_done(acme, acts):
    acme.must("revoke", "acme")
    order = ["audit will_remove", REMOVE, "closed", "audit revoked"]
    assert [act for act in acts if act in order] == order


def test_nothing_is_delivered_that_cannot_be_announced(acme, monkeypatch):
    change(acme)
    monkeypatch.setattr(JsonlAudit, "append", broken)
    assert acme.run("provision", "acme").status == 10
    assert KEY in acme.file.read_text()


def test_a_removal_is_done_although_it_cannot_be_recorded(acme, monkeypatch):
    monkeypatch.setattr(JsonlAudit, "append", broken)
    assert acme.run("revoke", "acme").error["code"] == "audit_unwritable"
    assert not acme.file.exists()


@pytest.mark.parametrize("action", ["suspend", "revoke"])
def test_a_suspended_tenant_gets_nothing(acme, action):
    acme.must(action, "acme")
    for call in (("provision", "acme"), ("provision", "--all"), ("provision", "acme", "--repair")):
        acme.run(*call)
        assert not acme.file.exists()
    assert acme.run("provision", "acme").error["code"] == "tenant_suspended"


def test_an_offboarded_tenant_gets_nothing_ever(acme):
    acme.must("offboard", "acme")
    assert acme.run("resume", "acme").error["code"] == "tenant_offboarded"
    assert acme.run("provision", "acme").error["code"] == "tenant_offboarded"
    assert not acme.file.exists()


def test_an_empty_collection_takes_nothing_away(acme):
    acme.must("secret", "unset", "acme", "API_KEY")
    assert acme.run("provision", "acme").error["code"] == "collection_empty"
    assert KEY in acme.file.read_text()
    acme.must("provision", "acme", "--allow-empty")
    assert KEY not in acme.file.read_text()


def test_a_source_that_fails_takes_nothing_away(acme):
    (acme.state / "store" / "acme.age").write_bytes(b"broken")
    assert acme.run("provision", "acme").status == 6
    assert KEY in acme.file.read_text()


def test_another_collection_under_the_name_is_not_delivered(acme):
    (acme.state / "store" / "acme.age").unlink()
    acme.must("secret", "set", "acme", "API_KEY", stdin=b"someone-elses")
    assert acme.run("provision", "acme").error["code"] == "server_mismatch"
    assert KEY in acme.file.read_text()


def test_unchanged_input_changes_nothing_and_changed_input_raises_the_generation(acme, acts):
    before = acme.file.stat()
    acme.must("provision", "acme")
    after = acme.file.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert acts == []
    assert tenant(acme)["generation"] == 1
    change(acme)
    acme.must("provision", "acme")
    assert tenant(acme)["generation"] == 2
    assert acme.file.stat().st_ino != before.st_ino


def test_a_jail_the_engine_has_elsewhere_is_refused(acme):
    change(acme)
    with sqlite3.connect(acme.state / "colibri.sqlite") as registry:
        registry.execute("UPDATE tenants SET jail_root = jail_root || '-old'")
    assert acme.run("provision", "acme").error["code"] == "jail_root_mismatch"
    assert KEY in acme.file.read_text()


def test_a_tenant_another_process_works_on_is_left_alone(acme):
    acme.settings["COLIBRI_LOCK_TIMEOUT_SECONDS"] = "1"
    change(acme)
    elsewhere = FileLocks(str(acme.state / "provision.lock"), timeout_seconds=1)
    with elsewhere.hold("acme"):
        for call in ("provision", "revoke", "suspend", "offboard"):
            assert acme.run(call, "acme").error["code"] == "busy"
    assert KEY in acme.file.read_text()


def test_a_drifted_file_stays_drifted_through_a_key_rotation(acme):
    acme.file.write_text(acme.file.read_text() + "PLANTED=1\n")
    acme.must("key", "rotate", "host")
    assert acme.run("verify", "acme").status == 8
    acme.must("provision", "acme", "--repair")
    acme.must("key", "rotate", "host")
    acme.must("verify", "acme")


def test_every_recorded_line_is_remembered_by_the_registry(acme):
    """Else a log cut right behind would look like a crash."""
    for act in (("provision", "acme"), ("revoke", "acme"), ("resume", "acme")):
        acme.must(*act)
        last = json.loads((acme.state / "audit" / "audit.jsonl").read_bytes().splitlines()[-1])
        with sqlite3.connect(acme.state / "colibri.sqlite") as registry:
            ((seq, mac),) = registry.execute("SELECT seq, mac FROM audit_head").fetchall()
        assert (seq, mac) == (last["seq"], last["mac"]), act


def test_one_tenants_failure_is_its_own(acme):
    acme.tenant("beta", BETA_KEY="x")
    (acme.state / "store" / "acme.age").write_bytes(b"broken")
    result = acme.run("provision", "--all", "--json")
    assert result.status == 9
    results = {item["tenant_id"]: item["result"] for item in result.json["items"]}
    assert results == {"acme": "failed", "beta": "delivered"}


def test_a_dry_run_does_nothing(acme, acts):
    change(acme)
    del acts[:]
    acme.must("provision", "acme", "--dry-run")
    assert acts == []
    assert KEY in acme.file.read_text()


def test_the_receipt_has_no_plain_digest_of_the_file(acme):
    """A digest without a key would let whoever has the registry guess values."""
    import hashlib

    records = acme.must("show-tenant", "acme", "--json").json["records"]
    plain = hashlib.sha256(acme.file.read_bytes()).hexdigest()
    assert records[0]["digest"].startswith("k1:")
    assert plain not in records[0]["digest"]


def test_a_collection_is_announced_before_it_is_changed(acme, acts):
    change(acme)
    said = [act for act in acts if act.startswith(("audit", "store"))]
    assert said == ["audit will_change_collection", "store", "audit collection_changed"]


CHANGES = (
    ("secret", "set", "acme", "API_KEY"),
    ("register-tenant", "beta", "--tier", "scratch"),
    ("update-tenant", "acme", "--env-path", "/home/app/other.env"),
    ("resume", "gone"),
    ("jail", "create", "spare"),
    ("lease", "add", "acme", "DB_USER=database/creds/acme#username"),
)


@pytest.fixture
def cut(acme):
    """A log whose newest line was taken away."""
    acme.tenant("gone", API_KEY=KEY)
    acme.must("suspend", "gone")
    acme.must("secret", "set", "beta", "API_KEY", stdin=b"value")
    acme.must("jail", "create", "beta")
    log = acme.state / "audit" / "audit.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    return acme


def kept(cli) -> tuple:
    """What a change would change: collections, jails, rows."""
    with sqlite3.connect(cli.state / "colibri.sqlite") as registry:
        rows = list(registry.iterdump())
    registry.close()
    files = sorted(path for path in cli.state.rglob("*") if path.parent.name != "audit")
    stored = {path.name: path.read_bytes() for path in (cli.state / "store").iterdir()}
    return rows, [path for path in files if "sqlite-" not in path.name], stored


@pytest.mark.parametrize("argv", CHANGES, ids=" ".join)
def test_a_cut_log_keeps_everything_as_it_is(cut, argv):
    before = kept(cut)
    refused = cut.run(*argv, stdin=b"second-value")
    assert (refused.status, refused.error["code"]) == (10, "audit_broken")
    assert kept(cut) == before


def test_a_change_that_is_made_but_not_audited_says_so(acme, monkeypatch):
    real = JsonlAudit.append

    def fails_after(log, entries):
        if entries[0].event == "collection_changed":
            broken()
        return real(log, entries)

    monkeypatch.setattr(JsonlAudit, "append", fails_after)
    told = acme.run("secret", "set", "acme", "API_KEY", stdin=b"second-value")
    assert told.status == 10
    assert "collection 'acme' is changed (revision 2), but not wholly audited" in told.stderr
