"""The item contract, pure: which items become which variables, and which stop a tenant."""

from __future__ import annotations

import uuid

import pytest

from tests.kit.stores import revealed
from vault_svc.adapters.sources.vaultwarden import items
from vault_svc.adapters.sources.vaultwarden.items import LOGIN, NOTE, Item
from vault_svc.adapters.sources.vaultwarden.options import Rules
from vault_svc.domain.secret import CollectionRef, SecretValue
from vault_svc.errors import CODES, ColibriError

HERE, THERE = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
REF = CollectionRef(HERE, "acme")
CANARY = "canary-0123456789"


def made(number: int, name: str, *, kind: int = LOGIN, text: str | None = CANARY, **more) -> Item:
    value = None if text is None else SecretValue(text)
    given = {
        "id": str(uuid.UUID(int=1000 + number)),
        "name": name,
        "kind": kind,
        "collection_ids": (HERE,),
        "revision": "2026-11-21T03:24:00.000Z",
        "password": value if kind == LOGIN else None,
        "notes": value if kind == NOTE else None,
    }
    return Item(**(given | more))


def resolved(*given: Item, **rules):
    return items.secret_set(REF, given, Rules(**rules))


def refused(*given: Item, **rules) -> ColibriError:
    with pytest.raises(ColibriError) as caught:
        resolved(*given, **rules)
    error = caught.value
    assert CODES[error.code].status in {5, 6}
    assert error.hint
    assert CANARY not in error.line()
    return error


def test_a_login_is_a_variable_and_its_password_the_value():
    assert revealed(resolved(made(1, "API_KEY"))) == {"API_KEY": CANARY}


def test_a_value_is_taken_byte_for_byte():
    odd = " a\tb \"'$`\\ \u00a0 ü€😀 #=\n line "
    assert revealed(resolved(made(1, "ODD", text=odd))) == {"ODD": odd}


def test_a_note_is_lines_of_variables_and_its_name_is_free():
    note = made(1, "for the mail server", kind=NOTE, text="# comment\nA=1\n\nB='x y'\n")
    assert revealed(resolved(note)) == {"A": "1", "B": "x y"}


@pytest.mark.parametrize("text", [None, "", "# only a comment\n"])
def test_a_note_without_lines_gives_nothing(text):
    assert revealed(resolved(made(1, "note", kind=NOTE, text=text))) == {}


@pytest.mark.parametrize("text", [None, ""])
def test_a_login_without_a_password_is_refused(text):
    error = refused(made(1, "API_KEY", text=text))
    assert error.code == "secret_value_unrepresentable"
    assert "API_KEY" in error.message


@pytest.mark.parametrize("name", ["api key", "Api", "1A", "", "PATH", "LD_PRELOAD", "BW_PASSWORD"])
def test_a_login_whose_name_is_no_variable_is_refused(name):
    error = refused(made(7, name))
    assert error.code == "secret_name_refused"
    assert str(uuid.UUID(int=1007)) in error.message
    assert "ignored_items" in error.hint


def test_policy_lets_a_name_through():
    assert revealed(resolved(made(1, "PATH"), allowed_variables=frozenset({"PATH"}))) == {
        "PATH": CANARY
    }


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (f"{CANARY}\n", "secret_value_unrepresentable"),  # no = : perhaps a bare key
        (f"A={CANARY}$x\n", "secret_value_unrepresentable"),
        (f"a b={CANARY}\n", "secret_name_refused"),
        (f"PATH={CANARY}\n", "secret_name_refused"),
        (f"A=1\nA={CANARY}\n", "secret_ambiguous"),
    ],
)
def test_an_unclear_note_is_refused_by_line_and_not_shown(text, code):
    error = refused(made(1, "note", kind=NOTE, text=text))
    assert error.code == code
    assert "note" in error.message


@pytest.mark.parametrize("second", [made(2, "KEY"), made(2, "n", kind=NOTE, text="KEY=2\n")])
def test_the_same_variable_twice_is_refused_and_both_items_are_named(second):
    error = refused(made(1, "KEY"), second)
    assert error.code == "secret_ambiguous"
    assert str(uuid.UUID(int=1001)) in error.message
    assert str(uuid.UUID(int=1002)) in error.message


def test_an_item_in_two_collections_is_refused_unless_policy_allows_that_item():
    shared = made(1, "KEY", collection_ids=(HERE, THERE))
    assert refused(shared).code == "secret_shared"
    assert refused(shared, shared_items=frozenset({str(uuid.UUID(int=9))})).code == "secret_shared"
    assert revealed(resolved(shared, shared_items=frozenset({shared.id}))) == {"KEY": CANARY}


def test_an_ignored_item_is_left_out_whatever_is_wrong_with_it():
    odd = made(1, "not a name", collection_ids=(HERE, THERE), text="")
    found = resolved(odd, made(2, "KEY"), ignored_items=frozenset({odd.id}))
    assert revealed(found) == {"KEY": CANARY}
    assert [odd.id in words for words in found.left_out] == [True]


@pytest.mark.parametrize(("kind", "word"), [(3, "card"), (4, "identity"), (5, "SSH"), (99, "kind")])
def test_other_kinds_are_left_out_and_named(kind, word):
    found = resolved(made(1, "CARD", kind=kind), made(2, "KEY"))
    assert revealed(found) == {"KEY": CANARY}
    assert word in found.left_out[0]


def test_fields_and_trash_are_left_out_and_named():
    found = resolved(made(1, "KEY", fields=2), made(2, "", gone="in the trash", text=None))
    assert revealed(found) == {"KEY": CANARY}
    assert ["2 custom fields" in found.left_out[0], "trash" in found.left_out[1]] == [True, True]


def test_a_shared_card_stops_its_tenants_too():
    """It may hold what one tenant must not see of another, whatever its kind is."""
    assert refused(made(1, "CARD", kind=3, collection_ids=(HERE, THERE))).code == "secret_shared"


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "x" * 101])
def test_a_value_no_file_could_carry_is_refused(text):
    assert refused(made(1, "KEY", text=text), max_value_bytes=100).code == (
        "secret_value_unrepresentable"
    )


def test_limits_of_a_collection():
    several = [made(number, f"KEY_{number}") for number in range(4)]
    assert refused(*several, max_secrets=3).code == "secret_value_unrepresentable"
    assert refused(*several, max_collection_bytes=50).code == "secret_value_unrepresentable"
    assert len(resolved(*several, max_secrets=4).values) == 4


def test_the_revision_changes_with_dates_and_with_what_is_there():
    first, second = made(1, "A"), made(2, "B")
    later = made(1, "A", revision="2026-11-21T03:25:00.000Z")
    revisions = {resolved(*given).revision for given in ([first], [later], [first, second], [])}
    assert len(revisions) == 4
    assert resolved(first, second).revision == resolved(second, first).revision


def test_nothing_of_an_item_shows_its_value():
    item = made(1, "KEY")
    assert CANARY not in f"{item!r} {item} {resolved(item)!r}"


def test_a_name_cannot_drive_a_terminal():
    assert "\x1b" not in refused(made(1, "\x1b[31mred")).message
