"""Sets of files as bytes, and in words how a directory differs: the domain alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_svc.domain import files
from vault_svc.domain.delivered import DEFAULT_PATHS, MODES, render, size, values_of
from vault_svc.domain.plan import Known, Step, decide
from vault_svc.domain.receipt import Found, Intent, Owner, Receipt
from vault_svc.domain.secret import SecretSet, SecretValue
from vault_svc.domain.tenant import Status, Tenant
from vault_svc.errors import ColibriError

OWNER = Owner(1000, 1000)
ROW = Tenant(
    "acme", "h", "directory", "acme", "/j/acme/root", "embedded", "acme", "id", "universal",
    "files", (), "/secrets", 1000, 1000, "standard", Status.ACTIVE, 4, None, "t", "t",
)  # fmt: skip
NAMES = st.text("ABC_9", min_size=1, max_size=6)


def secrets(**values: str) -> SecretSet:
    return SecretSet("c", "1", {name: SecretValue(value) for name, value in values.items()})


def a_file(content: bytes, **more) -> Found:
    sound = Found("file", content, 0o400, 1000, 1000, 1, 1, 1, 1, len(content))
    return replace(sound, **more)


def a_directory(contents: dict[str, bytes], **more) -> Found:
    there = {name: a_file(content) for name, content in contents.items()}
    sound = Found("directory", files.pack(contents), 0o700, 1000, 1000, files=there)
    return replace(sound, **more)


@given(st.dictionaries(NAMES, st.binary(max_size=64)))
def test_what_is_packed_is_unpacked(contents):
    assert files.unpack(files.pack(contents)) == contents


@given(st.dictionaries(NAMES, st.binary(max_size=9)), st.dictionaries(NAMES, st.binary(max_size=9)))
def test_two_sets_never_pack_alike(one, other):
    assert (files.pack(one) == files.pack(other)) == (one == other)


@pytest.mark.parametrize(
    "spoilt", [b"", b"A=1\n", b"colibri files 1\nA 9\nx\n", b"colibri files 1\nA 1\nx", b"x" * 40]
)
def test_other_bytes_are_not_unpacked(spoilt):
    with pytest.raises(ColibriError):
        files.unpack(spoilt)


def test_a_value_is_its_files_whole_content():
    text = "-----BEGIN-----\r\n'\"$x`\\\n\n\té\n"
    content = render(ROW, secrets(TLS_KEY=text, EMPTY=""), frozenset())
    assert files.unpack(content) == {"TLS_KEY": text.encode(), "EMPTY": b""}
    assert values_of(ROW, content) == {"TLS_KEY": text, "EMPTY": ""}
    assert size(ROW, content) == len(text.encode())


@pytest.mark.parametrize(("value", "rule"), [("a\0b", "NUL"), ("a\ud800", "Unicode")])
def test_what_no_file_can_carry_is_refused_by_name_alone(value, rule):
    with pytest.raises(ColibriError) as caught:
        render(ROW, secrets(GOOD="x", BAD=value), frozenset())
    assert caught.value.code == "secret_value_unrepresentable"
    assert rule in caught.value.message
    assert "BAD" in caught.value.message
    assert "GOOD" not in caught.value.message


def test_a_name_that_changes_how_programs_start_is_refused_unless_allowed():
    with pytest.raises(ColibriError) as caught:
        render(ROW, secrets(LD_PRELOAD="x"), frozenset())
    assert caught.value.code == "secret_name_refused"
    assert render(ROW, secrets(LD_PRELOAD="x"), frozenset({"LD_PRELOAD"}))


def test_equal_values_under_two_names_have_two_digests():
    assert files.part("A", b"x") != files.part("B", b"x")
    assert not files.part("A", b"x").startswith(files.pack({})[:15])


A, B = {"A": b"1", "B": b"2"}, files.pack({"A": b"1", "B": b"2"})


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (a_directory(A), ()),
        (Found("missing", files={}), ("missing",)),
        (Found("symlink", files={}), ("replaced by symlink",)),
        (Found("file", files={}), ("replaced by file",)),
        (a_directory({"A": b"1"}), ("B: missing",)),
        (a_directory(A | {"B": b"x"}), ("B: bytes",)),
        (a_directory(A | {"C": b"x"}), ("C: unexpected file",)),
        (a_directory(A, mode=0o755), ()),
        (a_directory(A, mode=0o770), ("directory: mode",)),
        (a_directory(A, uid=7), ("directory: owner",)),
        (a_directory(A, uid=0), ()),
        (a_directory(A, files={"A": a_file(b"1", mode=0o644), "B": Found("fifo")}),
         ("A: mode", "B: replaced by fifo")),
        (a_directory(A, files={"A": a_file(b"1", nlink=2), "B": a_file(b"2", gid=0)}),
         ("A: links", "B: owner")),
    ],
)  # fmt: skip
def test_every_difference_names_its_file(found, words):
    assert files.drift(found, B, 0o400, OWNER) == words


def test_a_receipts_own_digests_tell_which_file_differs():
    receipt = Receipt(
        "acme", 1, "/secrets", ("A", "B"), "k1:x", 0o400, 1000, 1000, 2, True, "t", "1", 1.0
    )
    found = a_directory(A | {"B": b"forged"})
    words = files.recorded_drift(found, receipt, lambda name, there: there.content == A[name])
    assert words == ("B: bytes",)


def test_the_plan_is_that_of_one_file():
    known = Known(ROW, None, ())
    assert decide(known, a_directory(A), B, "k1:x", recorded=True).step is Step.NOTHING
    assert decide(known, a_directory(A), B, "k1:x", recorded=False).step is Step.ADOPT
    made = decide(known, a_directory({"A": b"1"}), B, "k1:x", recorded=True)
    assert (made.step, made.generation, made.drift) == (Step.WRITE, 5, ("B: missing",))


def test_names_are_ours_that_were_delivered_or_announced():
    receipt = Receipt("acme", 1, "/s", ("A", "B"), "k1:x", 0o400, 1, 1, 2, True, "t", "1", 1.0)
    known = Known(ROW, receipt, (Intent("acme", 2, "k1:y", ("B", "C"), "t"),))
    assert known.keys == {"A", "B", "C"}


def test_an_empty_directory_holds_nothing_of_a_delivery():
    assert a_directory({}).is_gone
    assert Found("missing").is_gone
    assert not a_directory(A).is_gone
    assert not Found("directory").is_gone  # where one file is looked for


def test_each_way_of_delivery_has_a_mode_and_a_place():
    assert MODES == {"file": 0o600, "files": 0o400, "tmpfs": 0o600, "tmpfs-files": 0o400}
    assert DEFAULT_PATHS.keys() == MODES.keys()
