"""The embedded store under kills and rivals: nothing is lost at any point."""

from __future__ import annotations

import os

import pyrage
import pytest

from tests.kit.stores import new_store, resolve_one, revealed, values
from vault_svc.errors import ColibriError

NAMES = ("acme", "beta", "gamma")
STATE_CHANGING = ("open", "write", "fsync", "rename", "unlink", "fchmod")


def in_child(work) -> int:
    """Run work in a forked child; return its exit status (9: killed by die_at, 1: it raised)."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die_at(count: int) -> None:
    """Make this process end, as by SIGKILL, instead of its count-th state-changing call."""
    left = [count]

    def deadly(call):
        def wrapped(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                os._exit(9)
            return call(*args, **kwargs)

        return wrapped

    for name in STATE_CHANGING:
        setattr(os, name, deadly(getattr(os, name)))


def sweep(work, check) -> int:
    """Kill work before each of its state-changing calls, check after each; return how many."""
    for count in range(2000):

        def doomed(count=count):
            die_at(count)
            work()

        status = in_child(doomed)
        if status == 0:
            return count
        assert status == 9, count
        check()
    raise AssertionError("it never came to its end")


def test_a_rotation_killed_anywhere_loses_nothing_and_can_be_repeated(tmp_path):
    store = new_store(tmp_path)
    refs = [store.source().change(n, values(API=n), create=True)[0] for n in NAMES]
    first = store.identities()[0]

    def check():
        found = [revealed(one) for _, one in store.source().resolve(refs)]
        assert found == [{"API": name} for name in NAMES]

    kills = sweep(lambda: store.source().rotate_identity(), check)
    print(f"kill points: {kills}")
    assert kills >= 30
    check()
    assert store.source().rotate_identity() == 3
    check()
    assert len(store.identities()) == 1
    assert [info.set_at for info in store.source().infos("acme")] == ["2026-11-21T03:24:00.000Z"]
    assert [resolve_one(store.source(), ref).revision for ref in refs] == ["1", "1", "1"]
    for name in NAMES:
        with pytest.raises(pyrage.DecryptError):
            pyrage.decrypt(store.file(name).read_bytes(), [first])
    leftovers = [name for name in os.listdir(store.directory) if "tmp" in name]
    assert leftovers == []


def test_a_change_killed_anywhere_leaves_the_old_or_the_new(tmp_path):
    store = new_store(tmp_path)
    ref, _ = store.source().change("acme", values(API="old"), create=True)
    seen = set()

    def check():
        found = resolve_one(store.source(), ref)
        seen.add((found.revision, revealed(found)["API"]))

    kills = sweep(lambda: store.source().change("acme", values(API="new")), check)
    assert kills >= 8
    check()
    assert seen == {("1", "old"), ("2", "new")}


class FailingPut:
    """Credentials whose count-th put raises."""

    def __init__(self, real, count: int) -> None:
        self._real, self._left = real, count
        self.get, self.exists = real.get, real.exists

    def put(self, uri, value):
        self._left -= 1
        if self._left < 0:
            raise ColibriError("read_only", "no")
        self._real.put(uri, value)


@pytest.mark.parametrize("works", [0, 1])
def test_a_credential_that_cannot_be_written_stops_a_rotation_without_loss(tmp_path, works):
    from vault_svc.adapters.credentials.store import UriCredentials

    store = new_store(tmp_path)
    refs = [store.source().change(n, values(API=n), create=True)[0] for n in NAMES]
    before = store.file("acme").read_bytes()
    with pytest.raises(ColibriError):
        store.source(FailingPut(UriCredentials(), works)).rotate_identity()
    assert (store.file("acme").read_bytes() == before) is (works == 0)
    found = [revealed(one) for _, one in store.source().resolve(refs)]
    assert found == [{"API": name} for name in NAMES]


def test_a_broken_file_stops_a_rotation_before_the_old_identity_goes(tmp_path):
    store = new_store(tmp_path)
    refs = [store.source().change(n, values(API=n), create=True)[0] for n in NAMES]
    whole = store.file("beta").read_bytes()
    store.file("beta").write_bytes(whole[:-1])
    with pytest.raises(ColibriError, match="beta"):
        store.source().rotate_identity()
    store.file("beta").write_bytes(whole)
    found = [revealed(one) for _, one in store.source().resolve(refs)]
    assert found == [{"API": name} for name in NAMES]
    assert store.source().rotate_identity() == 3


def test_a_file_of_another_name_is_rotated_too(tmp_path):
    store = new_store(tmp_path)
    store.source().change("acme", values(API="x"), create=True)
    store.file("acme").rename(store.directory / "Backup of acme.age")
    assert store.source().rotate_identity() == 1
    assert pyrage.decrypt((store.directory / "Backup of acme.age").read_bytes(), store.identities())


def test_a_reader_from_before_a_rotation_finds_the_new_identity(tmp_path):
    store = new_store(tmp_path)
    ref, _ = store.source().change("acme", values(API="one"), create=True)
    reader = store.source()
    assert revealed(resolve_one(reader, ref)) == {"API": "one"}
    store.source().rotate_identity()
    assert revealed(resolve_one(reader, ref)) == {"API": "one"}


def test_a_writer_from_before_a_rotation_seals_to_the_new_identity(tmp_path):
    store = new_store(tmp_path)
    writer = store.source()
    writer.create("acme")
    store.source().rotate_identity()
    ref, _ = writer.change("beta", values(API="one"), create=True)
    assert revealed(resolve_one(store.source(), ref)) == {"API": "one"}


def test_writers_in_two_processes_lose_no_update(tmp_path):
    store = new_store(tmp_path)
    ref = store.source().create("acme")
    each = 25

    def write(who):
        for number in range(each):
            store.source().change("acme", values(**{f"{who}_{number}": str(number)}))

    children = []
    for who in ("A", "B", "C"):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                write(who)
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in children] == [0, 0, 0]
    found = resolve_one(store.source(), ref)
    assert found.revision == str(3 * each)
    assert len(found.values) == 3 * each
