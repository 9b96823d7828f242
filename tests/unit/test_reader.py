"""The cheap reader: what it imports, what it opens, what it sees."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.rows import a_receipt, a_tenant
from vault_svc.adapters.registry.create import create
from vault_svc.adapters.registry.lazy import LazyRegistry
from vault_svc.adapters.registry.place import sqlite_url
from vault_svc.adapters.registry.reader import SqliteReader
from vault_svc.adapters.registry.store import SqlRegistry
from vault_svc.errors import ColibriError

ROOT = Path(__file__).parents[2]
HEAVY = ("sqlalchemy", "sqlalchemy.orm", "sqlmodel", "pydantic", "alembic")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "colibri.sqlite"


@pytest.fixture
def store(path: Path) -> SqlRegistry:
    create(sqlite_url(str(path)), busy_timeout_seconds=1.0)
    return SqlRegistry(sqlite_url(str(path)))


def imported(code: str, path: Path) -> set[str]:
    tail = f"\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", "import sys\n" + code + tail, str(path)],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return set(done.stdout.split())


LAZY = "from vault_svc.adapters.registry.lazy import LazyRegistry as L\nr = L('', sys.argv[1])\n"


def test_reading_imports_nothing_heavy(store, path):
    store.add(a_tenant())
    store.commit([a_receipt()], {})
    reads = (
        "assert r.tenants()[0] == r.tenant('acme')\n"
        "r.newest(['acme']), r.history('acme', 5), r.open_intents(['acme'])\n"
        "r.by_jail('h1', 'acme'), r.roots_around('h1', '/srv'), r.audit_head(), r.rows(['acme'])\n"
    )
    assert imported(LAZY + reads, path) == set()
    assert imported(LAZY + reads + "r.initialise()", path) == set()


def test_a_failing_read_imports_nothing_heavy(path):
    failing = (
        "from vault_svc.errors import ColibriError\n"
        "try:\n    r.tenants()\nexcept ColibriError as e:\n    assert e.code == 'usage', e.code\n"
    )
    assert imported(LAZY + failing, path) == set()


def test_a_write_imports_nothing_heavy_either(store, path):
    write = "from vault_svc.domain.audit import Head\nr.mirror(Head(1, 'ab' * 32))\n"
    assert imported(LAZY + write, path) == set()
    assert store.audit_head().seq == 1


def test_the_reader_sees_what_others_commit(store, path):
    reader = SqliteReader.open_current(str(path))
    assert reader.tenants() == []
    store.add(a_tenant())
    assert reader.tenants() == [a_tenant()]
    store.dispose()
    assert reader.tenants() == [a_tenant()]


def test_the_reader_cannot_write(store, path):
    reader = SqliteReader.open_current(str(path))
    with pytest.raises(ColibriError) as caught:
        reader.fetch("DELETE FROM tenants", {})
    assert caught.value.code == "read_only"


def test_a_lazy_registry_reads_its_own_writes(store, path):
    registry = LazyRegistry("", str(path))
    assert registry.tenants() == []
    registry.add(a_tenant())
    assert registry.tenant("acme") == a_tenant()
    registry.dispose()
    assert registry.tenant("acme") == a_tenant()


def test_reading_after_a_writer_was_killed(store, path):
    """The log is left behind; a reader must find in it what was committed."""
    script = (
        "import os, sys\nfrom tests.kit.rows import a_tenant\n"
        "from vault_svc.adapters.registry.store import SqlRegistry\n"
        "SqlRegistry(sys.argv[1]).add(a_tenant())\nos.kill(os.getpid(), 9)\n"
    )
    store.dispose()
    subprocess.run(
        [sys.executable, "-c", script, sqlite_url(str(path))], cwd=ROOT, check=False, timeout=60
    )
    assert path.with_name(path.name + "-wal").stat().st_size > 0
    assert SqliteReader.open_current(str(path)).tenants() == [a_tenant()]


def test_reading_leaves_no_file_that_others_can_read(store, path):
    store.add(a_tenant())
    store.dispose()
    old = os.umask(0)
    try:
        SqliteReader.open_current(str(path)).tenants()
    finally:
        os.umask(old)
    assert {entry.stat().st_mode & 0o7777 for entry in path.parent.iterdir()} == {0o600}


def test_ten_thousand_rows_come_back_whole(store, path):
    from vault_svc.adapters.registry import statements
    from vault_svc.adapters.registry.schema import tenant_row

    rows = [a_tenant(f"t{number:05}", mounts=("/a",)) for number in range(10_000)]
    with store._writing() as work:
        work.run(statements.ADD, *map(tenant_row, rows))
    reader = SqliteReader.open_current(str(path))
    assert reader.tenants() == rows
    paged, after = [], ""
    while page := reader.tenants(after=after, limit=3000):
        paged += page
        after = page[-1].tenant_id
    assert paged == rows
    ids = [row.tenant_id for row in rows]
    assert list(reader.rows(ids).values()) == rows


@pytest.mark.root
def test_an_account_that_may_not_read_is_told_so(store, path):
    store.dispose()
    done = os.fork()
    if done == 0:
        os.setgid(4711)
        os.setuid(4711)
        try:
            SqliteReader.open_current(str(path))
        except ColibriError as error:
            os._exit(0 if error.code == "usage" else 1)
        except BaseException:
            os._exit(2)
        os._exit(3)
    assert os.waitstatus_to_exitcode(os.waitpid(done, 0)[1]) == 0
