"""The embedded source: what it keeps, what it refuses, what it survives."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import uuid

import pyrage
import pytest
from pyrage import x25519

from tests.kit.memory import MemoryCredentials
from tests.kit.stores import Store, new_store, resolve_one, revealed, values
from vault_svc.domain.secret import CollectionRef, SecretValue
from vault_svc.errors import ColibriError

AGE = shutil.which("age")
needs_age = pytest.mark.skipif(AGE is None, reason="the age command is not installed")


@pytest.fixture
def store(tmp_path) -> Store:
    return new_store(tmp_path)


def code_of(call) -> str:
    with pytest.raises(ColibriError) as caught:
        call()
    return caught.value.code


def test_a_new_object_reads_what_another_wrote(store):
    ref, revision = store.source().change("acme", values(API="one", DB="two"), create=True)
    assert revision == 1
    found = resolve_one(store.source(), ref)
    assert revealed(found) == {"API": "one", "DB": "two"}
    assert (found.collection_id, found.revision) == (ref.collection_id, "1")


def test_the_plaintext_is_what_decision_21_says(store):
    ref = store.source().create("acme")
    store.clock.turn(60)
    store.source().change("acme", values(API="ö\nx"))
    assert store.plaintext("acme") == {
        "version": 1,
        "collection_id": str(uuid.UUID(ref.collection_id)),
        "revision": 1,
        "secrets": {"API": {"value": "ö\nx", "set_at": "2026-11-21T03:25:00.000Z"}},
    }


def test_files_are_private_whatever_the_umask(store):
    old = os.umask(0)
    try:
        store.source().create("acme")
    finally:
        os.umask(old)
    assert stat.S_IMODE(store.file("acme").stat().st_mode) == 0o600


def test_no_value_lies_in_the_store_in_the_clear(store):
    store.source().change("acme", values(API="canary-of-the-store"), create=True)
    content = b"".join(path.read_bytes() for path in store.directory.iterdir())
    assert b"canary" not in content
    assert b"API" not in content


def test_the_same_values_again_write_nothing(store):
    store.source().change("acme", values(API="one"), create=True)
    before = store.file("acme").stat()
    store.clock.turn(60)
    assert store.source().change("acme", values(API="one"))[1] == 1
    assert store.source().change("acme", {})[1] == 1
    after = store.file("acme").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_only_what_changed_gets_a_new_time_and_the_revision_rises_by_one(store):
    store.source().change("acme", values(API="one", DB="two"), create=True)
    store.clock.turn(60)
    assert store.source().change("acme", values(API="new", DB="two", MORE="3"))[1] == 2
    times = {info.name: info.set_at[14:19] for info in store.source().infos("acme")}
    assert times == {"API": "25:00", "DB": "24:00", "MORE": "25:00"}


def test_infos_tell_length_in_bytes_and_never_a_value(store):
    store.source().change("acme", values(API="päss"), create=True)
    (info,) = store.source().infos("acme")
    assert (info.name, info.length) == ("API", 5)
    assert "päss" not in repr(info)


def test_unset_removes_and_a_second_unset_is_told(store):
    ref, _ = store.source().change("acme", values(API="one", DB="two"), create=True)
    assert store.source().change("acme", values(API=None))[1] == 2
    assert revealed(resolve_one(store.source(), ref)) == {"DB": "two"}
    assert code_of(lambda: store.source().change("acme", values(API=None))) == "secret_missing"


def test_one_bad_update_of_several_leaves_all_as_they_were(store):
    ref, _ = store.source().change("acme", values(API="one"), create=True)
    assert code_of(lambda: store.source().change("acme", values(DB="x", NOPE=None)))
    assert code_of(lambda: store.source().change("acme", values(DB="x", BAD="a\0b")))
    assert revealed(resolve_one(store.source(), ref)) == {"API": "one"}


@pytest.mark.parametrize(
    ("updates", "code"),
    [
        (values(API="x" * 101), "secret_value_unrepresentable"),
        (values(API="ö" * 51), "secret_value_unrepresentable"),
        (values(API="a\0b"), "secret_value_unrepresentable"),
        (values(API="a\udc80b"), "secret_value_unrepresentable"),
        (values(A="x" * 90, B="x" * 90, C="x" * 90), "secret_value_unrepresentable"),
        (values(A="1", B="2", C="3", D="4"), "usage"),
        ({"api": SecretValue("x")}, "secret_name_refused"),
        ({"LD_PRELOAD": SecretValue("x")}, "secret_name_refused"),
    ],
)
def test_what_is_over_a_limit_is_refused_and_not_quoted(store, updates, code):
    limits = {
        "max_value_bytes": 100,
        "max_secrets_per_collection": 3,
        "max_collection_bytes": 400,
    }
    source = store.source(**limits)
    source.create("acme")
    before = store.file("acme").read_bytes()
    with pytest.raises(ColibriError) as caught:
        source.change("acme", updates)
    assert caught.value.code == code
    assert "xxxx" not in caught.value.line()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert store.file("acme").read_bytes() == before


def test_exactly_the_limit_fits(store):
    source = store.source(max_value_bytes=100)
    ref, _ = source.change("acme", values(API="x" * 100), create=True)
    assert revealed(resolve_one(source, ref)) == {"API": "x" * 100}


def test_a_refused_name_can_still_be_unset_but_not_resolved(store):
    entry = {"value": "x", "set_at": "2026-11-21T03:24:00.000Z"}
    store.plant_document("acme", secrets={"LD_PRELOAD": entry})
    ref = store.source().locate("acme")
    assert resolve_one(store.source(), ref).code == "secret_name_refused"
    store.source().change("acme", {"LD_PRELOAD": None})
    assert revealed(resolve_one(store.source(), ref)) == {}


def test_a_name_the_operator_lets_through_is_kept(store):
    source = store.source()
    source._allowed = frozenset({"NODE_OPTIONS"})
    ref, _ = source.change("acme", values(NODE_OPTIONS="x"), create=True)
    assert revealed(resolve_one(source, ref)) == {"NODE_OPTIONS": "x"}
    assert resolve_one(store.source(), ref).code == "secret_name_refused"


@pytest.mark.parametrize("name", ["", "Acme", "a--b", "../acme", "acme.age", ".acme", "a/b", "-a"])
def test_no_name_reaches_another_file(store, name):
    assert code_of(lambda: store.source().create(name)) == "usage"
    assert code_of(lambda: store.source().change(name, {}, create=True)) == "usage"
    assert code_of(lambda: store.source().locate(name)) == "collection_not_found"
    ref = CollectionRef(str(uuid.uuid4()), name)
    assert resolve_one(store.source(), ref).code == "collection_not_found"
    assert os.listdir(store.directory) == []


def test_a_file_cut_at_any_length_is_told_and_left_alone(store):
    ref, _ = store.source().change("acme", values(API="one"), create=True)
    whole = store.file("acme").read_bytes()
    source = store.source()
    for length in range(len(whole)):
        store.file("acme").write_bytes(whole[:length])
        found = resolve_one(source, ref)
        assert found.code == "source_incomplete", length
        assert found.hint
    assert code_of(lambda: store.source().change("acme", values(API="x"))) == "source_incomplete"
    assert store.file("acme").read_bytes() == whole[:-1]
    store.file("acme").write_bytes(whole)
    assert revealed(resolve_one(source, ref)) == {"API": "one"}


def test_a_flipped_byte_anywhere_is_told(store):
    ref, _ = store.source().change("acme", values(API="one"), create=True)
    whole = store.file("acme").read_bytes()
    source = store.source()
    for place in range(len(whole)):
        store.file("acme").write_bytes(
            whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        )
        assert resolve_one(source, ref).code == "source_incomplete", place


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"version": True},
        {"collection_id": "acme"},
        {"revision": -1},
        {"revision": "3"},
        {"secrets": []},
        {"secrets": {"TOKEN": "planted"}},
        {"secrets": {"TOKEN": {"value": 3, "set_at": ""}}},
        {"secrets": {"TOKEN": {"value": "plan\0ted", "set_at": ""}}},
        {"secrets": {"TOKEN": {"value": "planted\udc80", "set_at": ""}}},
    ],
)
def test_a_plaintext_of_another_shape_is_told_without_quoting_it(store, changes):
    store.plant_document("acme", **changes)
    with pytest.raises(ColibriError) as caught:
        store.source().locate("acme")
    assert caught.value.code == "source_incomplete"
    assert "planted" not in caught.value.line()


@pytest.mark.parametrize(
    "plaintext", [b"", b"planted", b"[" * 100_000, b'{"version":1,"version":1}']
)
def test_a_plaintext_that_is_no_document_is_told(store, plaintext):
    store.plant("acme", plaintext)
    assert code_of(lambda: store.source().locate("acme")) == "source_incomplete"


def test_a_variable_twice_in_the_plaintext_is_told(store):
    store.plant_document("acme")
    twice = b'"TOKEN": {"value": "a", "set_at": ""}, "TOKEN": {"value": "b", "set_at": ""}'
    head = b'{"version":1,"collection_id":"8b4f1a52-0d1f-4c0e-9f53-1f2f5a1c2d3e","revision":1,'
    store.plant("acme", head + b'"secrets":{' + twice + b"}}")
    assert code_of(lambda: store.source().locate("acme")) == "source_incomplete"


def test_a_file_to_another_identity_is_told(store):
    ref, _ = store.source().change("acme", values(API="one"), create=True)
    other = x25519.Identity.generate()
    store.file("acme").write_bytes(pyrage.encrypt(b"{}", [other.to_public()]))
    found = resolve_one(store.source(), ref)
    assert found.code == "source_incomplete"
    assert "not encrypted to" in found.message


def test_a_lost_identity_is_each_collections_error_and_a_new_one_is_not_made(store):
    source = store.source()
    refs = [source.change(name, values(API="x"), create=True)[0] for name in ("acme", "beta")]
    store.identity.unlink()
    found = [one.code for _, one in store.source().resolve(refs)]
    assert found == ["credential_missing", "credential_missing"]
    assert code_of(lambda: store.source().create("more")) == "credential_missing"
    assert code_of(lambda: store.source().first_identity()) == "credential_missing"


def test_an_empty_store_gets_a_first_identity(tmp_path):
    tmp_path.chmod(0o700)
    text = Store(tmp_path, None).source().first_identity().reveal()
    assert text.count("AGE-SECRET-KEY-1") == 1


@pytest.mark.parametrize("content", ["", "# only a comment\n", "AGE-SECRET-KEY-1NOPE\n", "hello"])
def test_a_file_without_an_identity_is_told_and_not_quoted(store, content):
    store.identity.write_text(content)
    with pytest.raises(ColibriError) as caught:
        store.source().create("acme")
    assert caught.value.code == "credential_missing"
    assert "NOPE" not in caught.value.line()


def test_several_identities_open_and_the_first_seals(store):
    ref, _ = store.source().change("acme", values(API="one"), create=True)
    fresh = x25519.Identity.generate()
    old = store.identity.read_text()
    store.identity.write_text(f"# new\n\n{fresh}\n{old}")
    assert revealed(resolve_one(store.source(), ref)) == {"API": "one"}
    store.source().change("acme", values(API="two"))
    assert pyrage.decrypt(store.file("acme").read_bytes(), [fresh])


def test_the_identity_is_read_once_and_only_when_needed(store):
    credentials = MemoryCredentials()
    credentials.put(f"file:{store.identity}", SecretValue(store.identity.read_text()))
    refs = [store.source().change(n, values(A="1"), create=True)[0] for n in ("a", "b", "c")]
    source = store.source(credentials)
    assert list(source.resolve([])) == []
    assert credentials.gets == []
    assert len(list(source.resolve(refs))) == len(list(source.resolve(refs))) == 3
    assert len(credentials.gets) == 1


def test_another_id_under_the_name_is_a_mismatch(store):
    ref = store.source().create("acme")
    found = resolve_one(store.source(), CollectionRef(str(uuid.uuid4()), "acme"))
    assert found.code == "server_mismatch"
    store.file("acme").rename(store.file("beta"))
    assert resolve_one(store.source(), CollectionRef(ref.collection_id, "acme")).code == (
        "collection_not_found"
    )
    assert store.source().locate(ref.collection_id).name == "beta"


def test_a_copied_file_makes_its_id_ambiguous(store):
    ref = store.source().create("acme")
    shutil.copy2(store.file("acme"), store.file("copy"))
    with pytest.raises(ColibriError) as caught:
        store.source().locate(ref.collection_id)
    assert caught.value.code == "collection_ambiguous"
    assert "acme and copy" in caught.value.message


def test_an_id_is_not_denied_while_a_file_cannot_be_read(store):
    ref = store.source().create("acme")
    store.source().create("broken")
    store.file("broken").write_bytes(b"junk")
    assert store.source().locate(ref.collection_id) == ref
    assert code_of(lambda: store.source().locate(str(uuid.uuid4()))) == "source_incomplete"
    assert code_of(lambda: store.source().collections()) == "source_incomplete"


def test_the_nearest_names_are_in_the_hint(store):
    for name in ("acme", "acme-dev", "zebra"):
        store.source().create(name)
    with pytest.raises(ColibriError) as caught:
        store.source().locate("acne")
    assert "acme" in caught.value.hint
    assert "zebra" not in caught.value.hint


def test_a_symlink_or_an_open_file_in_the_store_is_not_read(store, tmp_path):
    ref = store.source().create("acme")
    store.file("acme").rename(tmp_path / "elsewhere")
    store.file("acme").symlink_to(tmp_path / "elsewhere")
    assert resolve_one(store.source(), ref).code == "source_incomplete"
    store.file("acme").unlink()
    os.mkfifo(store.file("acme"), 0o600)
    assert resolve_one(store.source(), ref).code == "source_incomplete"
    store.file("acme").unlink()
    shutil.copyfile(tmp_path / "elsewhere", store.file("acme"))
    store.file("acme").chmod(0o644)
    assert resolve_one(store.source(), ref).code == "source_incomplete"


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o770, 0o1777])
def test_a_store_others_can_enter_is_refused(store, mode):
    ref = store.source().create("acme")
    store.directory.chmod(mode)
    assert resolve_one(store.source(), ref).code == "credential_unsafe"
    assert code_of(lambda: store.source().create("beta")) == "credential_unsafe"


def test_a_missing_store_is_told_with_what_to_do(store):
    store.directory.rmdir()
    with pytest.raises(ColibriError) as caught:
        store.source().locate("acme")
    assert (caught.value.code, caught.value.hint) == ("collection_not_found", "colibri init")


def test_a_crashed_writers_temporary_file_is_swept_by_the_next(store):
    left = store.directory / ".acme.age.tmp-0011223344556677"
    left.write_bytes(b"half")
    assert store.source().collections() == ()
    assert left.exists()
    store.source().create("beta")
    assert os.listdir(store.directory) == ["beta.age"]


def test_a_held_lock_is_busy_and_names_the_store(store):
    import fcntl

    fd = os.open(store.directory, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    source = store.source()
    source.store._lock_timeout_seconds = 0.05
    try:
        with pytest.raises(ColibriError) as caught:
            source.create("acme")
    finally:
        os.close(fd)
    assert caught.value.code == "busy"
    assert str(store.directory) in caught.value.message


@needs_age
@pytest.mark.parametrize("armor", [[], ["--armor"]])
def test_the_age_command_reads_ours_and_we_read_its(store, armor):
    ref, _ = store.source().change("acme", values(API="one"), create=True)

    def age(*args, given=b""):
        command = [AGE, *map(str, args)]
        return subprocess.run(command, input=given, capture_output=True, check=True, timeout=20)

    opened = age("-d", "-i", store.identity, store.file("acme")).stdout
    assert b'"value":"one"' in opened
    edited = opened.replace(b'"one"', b'"by hand"')
    sealed = age("-e", *armor, "-r", store.identities()[0].to_public(), given=edited).stdout
    store.file("acme").write_bytes(sealed)
    assert revealed(resolve_one(store.source(), ref)) == {"API": "by hand"}
