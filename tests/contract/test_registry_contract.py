"""One suite of behaviour for every registry, the memory one included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from tests.kit.memory import MemoryRegistry
from tests.kit.rows import AT, DIGEST, LATER, a_receipt, a_removal, a_tenant, an_intent
from vault_svc.adapters.registry.create import create
from vault_svc.adapters.registry.lazy import LazyRegistry
from vault_svc.adapters.registry.place import sqlite_url
from vault_svc.adapters.registry.store import SqlRegistry
from vault_svc.domain.audit import Head
from vault_svc.domain.tenant import Status, Tenant
from vault_svc.errors import ColibriError
from vault_svc.ports.registry import Registry

KEPT = 5


def _memory(_: str) -> Registry:
    return MemoryRegistry(receipts_kept=KEPT)


def _sql(url: str) -> Registry:
    create(url, busy_timeout_seconds=1.0)
    return SqlRegistry(url, receipts_kept=KEPT, busy_timeout_seconds=1.0)


def _lazy(url: str) -> Registry:
    made = LazyRegistry(url, receipts_kept=KEPT, busy_timeout_seconds=1.0)
    made.initialise()
    return made


@pytest.fixture(params=[_memory, _sql, _lazy])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    made = request.param(sqlite_url(str(tmp_path / "state" / "colibri.sqlite")))
    yield made
    if not isinstance(made, MemoryRegistry):
        made.dispose()


def refused(code: str, call: Callable[..., Any], *args: Any, **named: Any) -> ColibriError:
    with pytest.raises(ColibriError) as caught:
        call(*args, **named)
    assert caught.value.code == code
    return caught.value


def test_a_row_comes_back_as_it_went_in(registry):
    full = a_tenant(
        mounts=("/data", "/läufe"),
        last_error="source_sealed: x",
        status=Status.ACTIVE,
        generation=2**40,
        root_ino=2**64 - 1,
        owner_uid=2**32 - 2,
    )
    bare = a_tenant("bare", collection_id=None, collection="", root_ino=None, jail_root="")
    for row in (full, bare):
        registry.add(row)
        assert registry.tenant(row.tenant_id) == row


@pytest.mark.parametrize("ino", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_every_inode_number_comes_back(registry, ino):
    registry.add(a_tenant(root_ino=ino))
    assert registry.tenant("acme").root_ino == ino


def test_an_unknown_tenant_is_named_with_the_nearest(registry):
    for name in ("acme", "acme-two", "zebra"):
        registry.add(a_tenant(name))
    error = refused("tenant_not_found", registry.tenant, "acmee")
    assert "acmee" in error.message
    assert "acme" in error.hint
    assert "zebra" not in error.hint


def test_ids_are_unique_for_good(registry):
    registry.add(a_tenant())
    other = a_tenant(jail="j2", collection_id="c2", jail_root="/srv/jails/j2")
    refused("tenant_exists", registry.add, other)
    registry.close(replace(a_tenant(), status=Status.OFFBOARDED), removal=None, head=None)
    refused("tenant_exists", registry.add, other)


@pytest.mark.parametrize("status", [Status.REGISTERED, Status.ACTIVE, Status.SUSPENDED])
def test_a_jail_has_one_tenant_that_is_not_offboarded(registry, status):
    registry.add(a_tenant("first", jail="shared", status=status))
    error = refused("jail_taken", registry.add, a_tenant("second", jail="shared"))
    assert "first" in error.message
    registry.add(a_tenant("elsewhere", jail="shared", host="h2"))
    assert [row.tenant_id for row in registry.tenants()] == ["elsewhere", "first"]


@pytest.mark.parametrize("status", [Status.REGISTERED, Status.ACTIVE, Status.SUSPENDED])
def test_a_collection_has_one_tenant_that_is_not_offboarded(registry, status):
    registry.add(a_tenant("first", collection_id="c", status=status))
    error = refused("collection_taken", registry.add, a_tenant("second", collection_id="c"))
    assert "first" in error.message
    registry.add(a_tenant("other-source", collection_id="c", source="vault"))


def test_rows_without_a_bucket_do_not_meet(registry):
    registry.add(a_tenant("one", collection_id=None))
    registry.add(a_tenant("two", collection_id=None))
    assert len(registry.tenants()) == 2


def test_jail_and_collection_are_free_after_an_offboard(registry):
    registry.add(a_tenant("first", jail="j", collection_id="c"))
    gone = replace(registry.tenant("first"), status=Status.OFFBOARDED)
    registry.close(gone, removal=None, head=None)
    registry.add(a_tenant("second", jail="j", collection_id="c"))
    assert registry.by_jail("h1", "j").tenant_id == "second"


def test_update_is_held_to_the_same_rules(registry):
    registry.add(a_tenant("first"))
    registry.add(a_tenant("second"))
    row = registry.tenant("second")
    error = refused("jail_taken", registry.update, replace(row, jail="first"), expected=row)
    assert "first" in error.message
    moved = replace(row, collection_id="id-of-first")
    error = refused("collection_taken", registry.update, moved, expected=row)
    assert "first" in error.message
    assert registry.tenant("second") == row


_OTHER: dict[str, Any] = {
    "mounts": ("/x",),
    "status": Status.SUSPENDED,
    "generation": 9,
    "owner_uid": 1,
    "owner_gid": 1,
    "root_ino": None,
}


@pytest.mark.parametrize(
    "name", [field.name for field in fields(Tenant) if field.name != "tenant_id"]
)
def test_update_stores_each_column_and_refuses_a_row_that_changed(registry, name):
    registry.add(a_tenant())
    row = registry.tenant("acme")
    changed = replace(row, **{name: _OTHER.get(name, "other")})
    refused("busy", registry.update, row, expected=changed)
    assert registry.tenant("acme") == row
    registry.update(changed, expected=row)
    assert registry.tenant("acme") == changed
    refused("busy", registry.update, row, expected=row)


def test_update_of_nobody(registry):
    refused("tenant_not_found", registry.update, a_tenant(), expected=a_tenant())


def test_listing_filters_orders_and_pages(registry):
    for name, host, status in (
        ("b", "h1", Status.ACTIVE),
        ("a-2", "h1", Status.SUSPENDED),
        ("a", "h1", Status.ACTIVE),
        ("a0", "h2", Status.ACTIVE),
    ):
        registry.add(a_tenant(name, host=host, status=status))

    def names(**wanted: Any) -> list[str]:
        return [row.tenant_id for row in registry.tenants(**wanted)]

    assert names() == ["a", "a-2", "a0", "b"]  # bytes, not a locale
    assert names(limit=10**20) == names()
    assert names(after="\udcff") == []  # an argument that was no UTF-8
    assert names(host="h1") == ["a", "a-2", "b"]
    assert names(status=Status.ACTIVE) == ["a", "a0", "b"]
    assert names(host="h1", status=Status.ACTIVE, after="a") == ["b"]
    assert names(limit=2) == ["a", "a-2"]
    assert names(after="a-2", limit=1) == ["a0"]
    assert names(after="b") == []


def test_rows_by_name(registry):
    registry.add(a_tenant("a"))
    registry.add(a_tenant("b"))
    assert registry.rows([]) == {}
    assert registry.rows(["b", "nobody", "b"]) == {"b": a_tenant("b")}


def test_by_jail_sees_this_host_and_open_rows_only(registry):
    registry.add(a_tenant("gone", jail="j", status=Status.OFFBOARDED))
    assert registry.by_jail("h1", "j") is None
    registry.add(a_tenant("here", jail="j"))
    assert registry.by_jail("h1", "j") == registry.tenant("here")
    assert registry.by_jail("h2", "j") is None


def test_by_collection_sees_open_rows_of_its_source_only(registry):
    registry.add(a_tenant("gone", collection_id="c", status=Status.OFFBOARDED))
    registry.add(a_tenant("bare", collection_id=None))
    assert registry.by_collection("embedded", "c") is None
    registry.add(a_tenant("here", collection_id="c"))
    assert registry.by_collection("embedded", "c") == registry.tenant("here")
    assert registry.by_collection("vault", "c") is None
    assert registry.by_collection("embedded", "") is None


def test_by_root_sees_open_rows_of_every_host(registry):
    registry.add(a_tenant("gone", jail_root="/j/a", status=Status.OFFBOARDED))
    for name, host in (("here", "h1"), ("there", "h2")):
        registry.add(a_tenant(name, host=host, jail_root="/j/a"))
    registry.add(a_tenant("below", jail_root="/j/a/b"))
    assert [row.tenant_id for row in registry.by_root("/j/a")] == ["here", "there"]
    assert registry.by_root("/j") == []
    assert registry.by_jail("h1", "J") is None


@pytest.mark.parametrize(
    ("root", "meets"),
    [
        ("/srv/jails/a", ["a", "below"]),
        ("/srv/jails/a/", ["a", "below"]),
        ("/srv/jails/a/sub", ["a", "below"]),
        ("/srv/jails/a/sub/deep", ["a", "below"]),
        ("/srv/jails/a/other", ["a"]),
        ("/srv/jails", ["a", "below", "wild"]),
        ("/srv", ["a", "below", "wild"]),
        ("/", ["a", "below", "wild"]),
        ("/srv/jails/A", []),
        ("/srv/jails/ab", []),
        ("/srv/jails/a-b", []),
        ("/srv/jails/axb", []),
        ("/srv/jails/a_b", ["wild"]),
        ("/srv/jail", []),
    ],
)
def test_roots_that_are_contain_or_lie_in_another(registry, root, meets):
    registry.add(a_tenant("a", jail_root="/srv/jails/a"))
    registry.add(a_tenant("below", jail_root="/srv/jails/a/sub"))
    registry.add(a_tenant("wild", jail_root="/srv/jails/a_b"))
    registry.add(a_tenant("unstable", jail_root=""))
    registry.add(a_tenant("gone", jail_root="/srv/jails/a", status=Status.OFFBOARDED))
    registry.add(a_tenant("elsewhere", jail_root="/srv/jails/a", host="h2"))
    assert [row.tenant_id for row in registry.roots_around("h1", root)] == meets


def test_a_root_at_the_top_contains_everything(registry):
    registry.add(a_tenant("top", jail_root="/"))
    assert [row.tenant_id for row in registry.roots_around("h1", "/srv/x")] == ["top"]


def test_receipts_close_a_batch(registry):
    for name in ("a", "b", "c"):
        registry.add(a_tenant(name, last_error="old"))
    registry.announce([an_intent("a"), an_intent("b"), an_intent("c")])
    head = Head(7, "ab" * 32)
    registry.commit(
        [a_receipt("a"), a_receipt("b", 3)], {"c": "no_space: x"}, dropped=["c"], head=head
    )
    assert registry.tenant("a") == a_tenant(
        "a", status=Status.ACTIVE, generation=1, updated_at=LATER
    )
    assert registry.tenant("b").generation == 3
    assert registry.tenant("c") == a_tenant("c", last_error="no_space: x")
    assert registry.open_intents(["a", "b", "c"]) == {}
    assert registry.newest(["a", "b", "c"]) == {"a": a_receipt("a"), "b": a_receipt("b", 3)}
    assert registry.audit_head() == head


def test_a_failure_touches_last_error_alone_and_an_empty_one_clears_it(registry):
    registry.add(a_tenant())
    registry.announce([an_intent()])
    registry.commit([], {"acme": "busy: x", "nobody": "y"})
    assert registry.tenant("acme") == a_tenant(last_error="busy: x")
    assert registry.open_intents(["acme"]) == {"acme": (an_intent(),)}
    registry.commit([], {"acme": ""})
    assert registry.tenant("acme") == a_tenant()


@pytest.mark.parametrize("status", [Status.ACTIVE, Status.SUSPENDED, Status.OFFBOARDED])
def test_a_receipt_changes_the_status_of_the_registered_only(registry, status):
    registry.add(a_tenant(status=status))
    registry.commit([a_receipt()], {})
    assert registry.tenant("acme").status is status


def test_generation_never_falls(registry):
    registry.add(a_tenant(generation=5))
    registry.commit([a_receipt(generation=3)], {})
    assert registry.tenant("acme").generation == 5


def test_a_receipt_for_nobody_stores_nothing_of_its_batch(registry):
    registry.add(a_tenant())
    batch = [a_receipt(), a_receipt("nobody")]
    refused("tenant_not_found", registry.commit, batch, {}, head=Head(1, "cd" * 32))
    assert registry.tenant("acme") == a_tenant()
    assert registry.newest(["acme"]) == {}
    assert registry.audit_head() is None


def test_an_empty_batch_is_nothing(registry):
    registry.commit([], {})
    registry.announce([])
    assert registry.tenants() == []


def test_intents_are_open_until_closed(registry):
    registry.add(a_tenant())
    registry.add(a_tenant("other"))
    registry.announce([an_intent(generation=2)])
    registry.announce([an_intent(generation=1, keys=()), an_intent("other", 9)])
    assert registry.open_intents(["acme", "other", "nobody"]) == {
        "acme": (an_intent(generation=1, keys=()), an_intent(generation=2)),
        "other": (an_intent("other", 9),),
    }
    registry.commit([], {}, dropped=["acme"])
    assert registry.open_intents(["acme", "other"]) == {"other": (an_intent("other", 9),)}


def test_an_intent_twice_is_another_process(registry):
    registry.add(a_tenant())
    registry.add(a_tenant("other"))
    registry.announce([an_intent()])
    refused("busy", registry.announce, [an_intent("other"), an_intent()])
    assert registry.open_intents(["other"]) == {}
    refused("tenant_not_found", registry.announce, [an_intent("nobody")])


def test_history_is_newest_first_and_pruned(registry):
    registry.add(a_tenant())
    registry.add(a_tenant("other"))
    registry.commit([a_receipt("other")], {})
    for generation in range(1, 9):
        registry.commit([a_receipt(generation=generation)], {})
    assert [record.generation for record in registry.history("acme", 100)] == [8, 7, 6, 5, 4]
    assert [record.generation for record in registry.history("acme", 2)] == [8, 7]
    assert registry.history("other", 9) == [a_receipt("other")]
    assert registry.history("nobody", 9) == []


def test_repeated_removals_are_pruned_too(registry):
    registry.add(a_tenant())
    for minute in range(KEPT + 3):
        removal = a_removal(at=f"{minute}")
        registry.close(replace(a_tenant(), status=Status.SUSPENDED), removal=removal, head=None)
    assert [record.at for record in registry.history("acme", 99)] == ["7", "6", "5", "4", "3"]


def test_records_keep_every_field(registry):
    registry.add(a_tenant())
    odd = a_receipt(keys=(), changed=False, elapsed_ms=0.0, source_revision="", size=0, mode=0o400)
    registry.commit([odd], {})
    assert registry.newest(["acme"]) == {"acme": odd}
    for existed in (True, False):
        removal = a_removal(existed=existed)
        registry.close(replace(a_tenant(), status=Status.SUSPENDED), removal=removal, head=None)
        assert registry.newest(["acme"]) == {"acme": removal}
    assert len(registry.history("acme", 9)) == 3


def test_close_stores_status_record_and_head_together(registry):
    registry.add(a_tenant(status=Status.ACTIVE, generation=4, last_error="old"))
    registry.announce([an_intent(generation=5)])
    row = registry.tenant("acme")
    closed = replace(row, status=Status.SUSPENDED, last_error=None, updated_at=LATER)
    registry.close(closed, removal=a_removal(generation=4), head=Head(3, "ef" * 32))
    assert registry.open_intents(["acme"]) == {}
    assert registry.newest(["acme"]) == {"acme": a_removal(generation=4)}
    assert registry.audit_head() == Head(3, "ef" * 32)
    # The closed intent's number was announced: it is not given out again.
    assert registry.tenant("acme") == replace(closed, generation=5)


def test_close_changes_nothing_else(registry):
    registry.add(a_tenant(status=Status.ACTIVE))
    other = replace(a_tenant(), status=Status.SUSPENDED, jail="elsewhere", env_path="/x")
    registry.close(other, removal=None, head=None)
    assert registry.tenant("acme") == a_tenant(status=Status.SUSPENDED)


def test_offboarded_is_for_good(registry):
    registry.add(a_tenant(status=Status.OFFBOARDED))
    for status in (Status.REGISTERED, Status.ACTIVE, Status.SUSPENDED):
        wanted = replace(a_tenant(), status=status)
        refused("tenant_offboarded", registry.close, wanted, removal=a_removal(), head=None)
    assert registry.newest(["acme"]) == {}
    again = replace(a_tenant(), status=Status.OFFBOARDED)
    registry.close(again, removal=None, head=None)
    refused(
        "tenant_not_found",
        registry.close,
        a_tenant("nobody"),
        removal=a_removal("nobody"),
        head=None,
    )


def test_the_mirror_never_goes_back(registry):
    assert registry.audit_head() is None
    registry.mirror(Head(5, "aa" * 32))
    registry.mirror(Head(4, "bb" * 32))
    registry.mirror(Head(5, "cc" * 32))
    assert registry.audit_head() == Head(5, "aa" * 32)
    registry.commit([], {}, head=Head(3, "dd" * 32))
    assert registry.audit_head() == Head(5, "aa" * 32)
    registry.mirror(Head(6, "ee" * 32))
    assert registry.audit_head() == Head(6, "ee" * 32)


def test_digests_are_replaced_where_the_old_one_still_stands(registry):
    for name in ("a", "b", "c", "d"):
        registry.add(a_tenant(name))
    registry.commit([a_receipt("a", 1), a_receipt("a", 2)], {})
    registry.commit([a_receipt("b"), a_receipt("c")], {})
    registry.close(
        replace(a_tenant("c"), status=Status.SUSPENDED), removal=a_removal("c"), head=None
    )
    new = "k2:" + "cd" * 32
    wanted = dict.fromkeys(("a", "c", "d"), (DIGEST, new)) | {"b": ("k1:other", new)}
    assert registry.replace_digests(wanted) == 1
    assert [record.digest for record in registry.history("a", 9)] == [new, DIGEST]
    assert registry.newest(["b"])["b"].digest == DIGEST
    assert registry.history("c", 9) == [a_removal("c"), a_receipt("c")]


def test_files_own_digests_are_kept_and_replaced_with_the_whole_ones(registry):
    registry.add(a_tenant("a"))
    registry.commit([replace(a_receipt("a"), parts=("aa", "bb"))], {})
    assert registry.newest(["a"])["a"].parts == ("aa", "bb")
    new = "k2:" + "cd" * 32
    assert registry.replace_digests({"a": (DIGEST, new)}, {"a": ("cc", "dd")}) == 1
    newest = registry.newest(["a"])["a"]
    assert (newest.digest, newest.parts) == (new, ("cc", "dd"))


def test_many_ids_in_one_question(registry):
    names = [f"t{number:04}" for number in range(1201)]
    for name in names[::100]:
        registry.add(a_tenant(name))
    registry.announce([an_intent(name) for name in names[::100]])
    assert list(registry.open_intents(names)) == names[::100]
    registry.commit([a_receipt(name) for name in names[::100]], {})
    assert sorted(registry.newest(names)) == names[::100]
    assert sorted(registry.rows(names)) == names[::100]


@pytest.mark.parametrize("hostile", ["' OR '1'='1", "%", "_", "a\0b", ":t", "ä" * 70])
def test_hostile_names_are_only_values(registry, hostile):
    registry.add(a_tenant())
    refused("tenant_not_found", registry.tenant, hostile)
    assert registry.tenants(host=hostile) == []
    assert registry.by_jail(hostile, hostile) is None
    assert registry.newest([hostile]) == {}
    assert registry.roots_around("h1", "/" + hostile) == []
    assert registry.tenant("acme").created_at == AT


def test_an_id_that_is_no_text_is_nobody(registry):
    error = refused("tenant_not_found", registry.tenant, "acm\udcff")
    assert error.line().isascii()
