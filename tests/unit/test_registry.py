"""The SQLite registry's file: modes, refusals, corruption, versions, writers in competition."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kit.rows import a_receipt, a_removal, a_tenant, an_intent
from vault_svc.adapters.registry import lease_rows, migrate, schema, tables
from vault_svc.adapters.registry.create import create
from vault_svc.adapters.registry.lazy import LazyRegistry
from vault_svc.adapters.registry.place import sqlite_path, sqlite_url
from vault_svc.adapters.registry.reader import SqliteReader
from vault_svc.adapters.registry.reserve import RESERVE_BYTES
from vault_svc.adapters.registry.store import SqlRegistry
from vault_svc.domain.audit import Head
from vault_svc.domain.tenant import Status
from vault_svc.errors import ColibriError

ROOT = Path(__file__).parents[2]
OPENERS = {
    "store": lambda path: SqlRegistry(sqlite_url(str(path)), busy_timeout_seconds=0.2).tenants(),
    "lazy": lambda path: LazyRegistry("", str(path), busy_timeout_seconds=0.2).tenants(),
}
openers = pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS.keys())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "colibri.sqlite"


def made(path: Path, rows: int = 3) -> SqlRegistry:
    create(sqlite_url(str(path)), busy_timeout_seconds=1.0)
    registry = SqlRegistry(sqlite_url(str(path)), busy_timeout_seconds=1.0)
    for number in range(rows):
        registry.add(a_tenant(f"t{number}"))
    return registry


def settled(path: Path, rows: int = 3) -> Path:
    """Leave a registry of one file: the last connection to close empties the log into it."""
    made(path, rows).dispose()
    reserve = path.with_name(path.name + "-reserve")
    assert {entry.name for entry in path.parent.iterdir()} <= {path.name, reserve.name}
    return path


def code_of(call, *args) -> ColibriError:
    with pytest.raises(ColibriError) as caught:
        call(*args)
    return caught.value


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_modes_do_not_depend_on_the_umask(path, umask):
    code = textwrap.dedent(f"""
        import os, sys
        os.umask({umask:#o})
        from vault_svc.adapters.registry.create import create
        from vault_svc.adapters.registry.store import SqlRegistry
        from tests.kit.rows import a_tenant
        create(sys.argv[1], busy_timeout_seconds=1.0)
        registry = SqlRegistry(sys.argv[1])
        registry.add(a_tenant())
        for entry in os.scandir(os.path.dirname(sys.argv[1].removeprefix("sqlite:///"))):
            print(entry.name, oct(entry.stat().st_mode & 0o7777))
    """)
    out = subprocess.run(
        [sys.executable, "-c", code, sqlite_url(str(path))],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    ).stdout  # fmt: skip
    assert sorted(out.splitlines()) == [
        "colibri.sqlite 0o600",
        "colibri.sqlite-reserve 0o600",
        "colibri.sqlite-shm 0o600",
        "colibri.sqlite-wal 0o600",
    ]
    assert mode(path.parent) == 0o700


def test_durable_and_guarded_settings_are_on(path):
    registry = made(path)
    with registry._engine.connect() as connection:
        asked = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "application_id")
        }
    assert asked == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "application_id": int.from_bytes(b"coli", "big"),
    }


def test_a_registry_that_is_not_there_is_not_made_by_the_way(path):
    for opener in OPENERS.values():
        error = code_of(opener, path)
        assert (error.code, error.hint) == ("usage", "colibri init")
    assert not path.parent.exists()
    path.parent.mkdir(mode=0o700)
    assert code_of(OPENERS["lazy"], path).code == "usage"
    assert list(path.parent.iterdir()) == []


def test_init_twice_is_done_already(path):
    registry = LazyRegistry("", str(path))
    assert registry.initialise() is True
    registry.add(a_tenant())
    assert registry.initialise() is False
    assert LazyRegistry("", str(path)).initialise() is False
    assert registry.tenants() == [a_tenant()]


def test_init_after_a_crash_in_init(path):
    path.parent.mkdir(mode=0o700)
    (path.parent / "colibri.sqlite.new").write_bytes(b"half a database")
    (path.parent / "colibri.sqlite.new-journal").write_bytes(b"and its journal")
    registry = LazyRegistry("", str(path))
    assert registry.initialise() is True
    assert registry.tenants() == []
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_an_empty_file_is_a_lost_registry_not_a_new_one(path):
    settled(path).write_bytes(b"")
    for opener in (*OPENERS.values(), lambda p: LazyRegistry("", str(p)).initialise()):
        assert code_of(opener, path).code == "registry_corrupt"
    assert path.read_bytes() == b""


@openers
def test_a_symlink_is_refused(path, opener):
    settled(path)
    real = path.with_name("real")
    path.rename(real)
    path.symlink_to(real)
    assert code_of(opener, path).code == "registry_corrupt"


@openers
@pytest.mark.parametrize("bad", [0o604, 0o640, 0o666, 0o620])
def test_a_file_open_to_others_is_refused(path, opener, bad):
    settled(path).chmod(bad)
    error = code_of(opener, path)
    assert error.code == "registry_corrupt"
    assert "chmod 0600" in error.hint


@openers
@pytest.mark.parametrize("bad", [0o720, 0o702, 0o1777])
def test_a_directory_others_can_write_to_is_refused(path, opener, bad):
    settled(path).parent.chmod(bad)
    assert code_of(opener, path).code == "unsafe_base"


@openers
def test_a_second_name_is_refused(path, opener):
    os.link(settled(path), path.with_name("copy"))
    assert code_of(opener, path).code == "registry_corrupt"


@openers
def test_a_fifo_is_refused_and_hangs_nobody(path, opener):
    path.parent.mkdir(mode=0o700)
    os.mkfifo(path, 0o600)
    assert code_of(opener, path).code == "registry_corrupt"


@pytest.mark.root
@openers
def test_a_foreign_file_is_refused(path, opener):
    os.chown(settled(path), 4711, 4711)
    error = code_of(opener, path)
    assert error.code == "registry_corrupt"
    assert "4711" in error.message


def _overwrite_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"\xff" * 100)


def _overwrite_middle(path: Path) -> None:
    with path.open("r+b") as file:
        for page in range(1, path.stat().st_size // 4096):
            file.seek(4096 * page)
            file.write(b"\xff" * 512)


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _truncate_in_header(path: Path) -> None:
    os.truncate(path, 50)


def _text(path: Path) -> None:
    path.write_text("this is no database, but longer than a header\n" * 100)


DAMAGE = [_overwrite_header, _overwrite_middle, _truncate, _truncate_in_header, _text]


@openers
@pytest.mark.parametrize("damage", DAMAGE, ids=lambda call: call.__name__)
def test_a_damaged_file_is_reported_and_left_as_it_is(path, opener, damage):
    settled(path, rows=30)
    damage(path)
    before = path.read_bytes()
    error = code_of(opener, path)
    assert error.code == "registry_corrupt"
    assert "registry-corrupt.md" in error.hint
    assert path.read_bytes() == before


@openers
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE tenants SET mounts = 'not json'",
        "UPDATE tenants SET mounts = '{}'",
        "PRAGMA ignore_check_constraints = 1; UPDATE tenants SET status = 'happy'",
        "UPDATE tenants SET owner_uid = 'abc'",
        "UPDATE tenants SET generation = 99999999999999999999",
        "DROP TABLE tenants",
        "ALTER TABLE tenants RENAME COLUMN tier TO floor",
    ],
)
def test_rows_that_make_no_sense_are_corruption_not_a_traceback(path, opener, statement):
    with sqlite3.connect(settled(path)) as raw:
        raw.executescript(statement)
    raw.close()
    error = code_of(opener, path)
    assert error.code == "registry_corrupt"
    assert "happy" not in error.message


@openers
def test_a_newer_schema_is_refused(path, opener):
    with sqlite3.connect(settled(path)) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '0099'")
    raw.close()
    before = path.read_bytes()
    error = code_of(opener, path)
    assert error.code == "registry_newer"
    assert "99" in error.message
    assert path.read_bytes() == before


@openers
@pytest.mark.parametrize("version", ["x1", "", None])
def test_a_version_that_is_none_of_ours_is_corruption(path, opener, version):
    with sqlite3.connect(settled(path)) as raw:
        raw.execute("DELETE FROM alembic_version")
        if version is not None:
            raw.execute("INSERT INTO alembic_version VALUES (?)", (version,))
    raw.close()
    assert code_of(opener, path).code == "registry_corrupt"


@openers
def test_somebody_elses_database_is_never_migrated(path, opener):
    path.parent.mkdir(mode=0o700)
    path.touch(mode=0o600)
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE photos (id INTEGER)")
    raw.close()
    before = path.read_bytes()
    assert code_of(opener, path).code == "registry_corrupt"
    assert code_of(LazyRegistry("", str(path)).initialise).code == "registry_corrupt"
    with sqlite3.connect(path) as raw:
        assert [row[0] for row in raw.execute("SELECT name FROM sqlite_master")] == ["photos"]
    raw.close()
    assert len(path.read_bytes()) == len(before)


def test_an_older_schema_is_migrated_on_open(path, monkeypatch):
    """With the first migration as all there is, older can only mean: not begun."""
    path.parent.mkdir(mode=0o700)
    path.touch(mode=0o600)
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
        raw.execute("INSERT INTO alembic_version VALUES ('0000')")
    raw.close()
    assert SqliteReader.open_current(str(path)) is None
    ran = []
    monkeypatch.setattr(migrate, "_upgrade", lambda connection: ran.append(connection.dialect.name))
    LazyRegistry("", str(path)).store.dispose()
    assert ran == ["sqlite"]


def test_migrations_end_at_the_version_the_code_knows():
    from alembic.script import ScriptDirectory

    head = ScriptDirectory.from_config(migrate.configuration()).get_current_head()
    assert head == f"{schema.SCHEMA_VERSION:04d}"


def test_migrated_tables_are_the_declared_ones(path):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    registry = made(path)
    with registry._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.Base.metadata) == []
        found = connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        ).all()
    migrated = {name: " ".join(sql.split()) for name, sql in found}
    assert migrated.keys() == {
        index.name for table in tables.Base.metadata.tables.values() for index in table.indexes
    }
    assert migrated["tenants_jail"].endswith("WHERE status <> 'offboarded'")
    assert "WHERE status <> 'offboarded'" in migrated["tenants_collection"]


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("tenants", schema.TENANT_COLUMNS),
        ("deliveries", schema.DELIVERY_COLUMNS),
        ("intents", schema.INTENT_COLUMNS),
        ("lease_variables", lease_rows.VARIABLE_COLUMNS),
        ("leases", lease_rows.LEASE_COLUMNS),
        ("lease_tokens", lease_rows.TOKEN_COLUMNS),
    ],
)
def test_columns_of_statements_are_the_declared_ones(name, columns):
    declared = tables.Base.metadata.tables[name]
    assert set(columns) == {column.name for column in declared.columns} - {"id"}


def test_the_schema_is_portable_to_postgresql():
    from alembic import command

    config = migrate.configuration()
    config.attributes["dialect"] = "postgresql"
    import io

    config.output_buffer = io.StringIO()
    command.upgrade(config, "head", sql=True)
    sql = config.output_buffer.getvalue()
    assert 'tenant_id TEXT COLLATE "C" NOT NULL' in sql
    assert "id BIGSERIAL NOT NULL" in sql
    assert sql.count("CREATE UNIQUE INDEX") == 2
    assert "(host, jail) WHERE status <> 'offboarded'" in sql
    assert "PRAGMA" not in sql


ONE_SIDED = ("REPLACE INTO", "OR IGNORE", "ON CONFLICT", "PRAGMA", "ROWID", "?")


def test_no_statement_says_what_only_one_database_knows():
    from vault_svc.adapters.registry import statements

    words = {k: v for k, v in vars(statements).items() if k.isupper() and isinstance(v, str)}
    assert len(words) >= 19
    for name, sql in words.items():
        upper = " ".join(sql.upper().split())
        assert "MAX(" not in upper.replace("SELECT MAX(", ""), name
        assert not [word for word in ONE_SIDED if word in upper], name


@pytest.mark.parametrize(
    "url", ["sqlite://", "sqlite:///relative.sqlite", "sqlite+pysqlite:////x/y", "sqlite:x"]
)
def test_urls_without_an_absolute_file_are_usage(url):
    assert code_of(sqlite_path, url).code == "usage"


def test_urls_of_servers_are_not_files():
    assert sqlite_path("postgresql+psycopg://colibri@db/colibri") is None
    assert sqlite_path("sqlite:////var/db/colibri.sqlite") == "/var/db/colibri.sqlite"


def test_paths_with_odd_characters(tmp_path):
    path = tmp_path / "a b?c#d%20é" / "colibri.sqlite"
    registry = LazyRegistry("", str(path))
    registry.initialise()
    registry.add(a_tenant())
    assert LazyRegistry("", str(path)).tenants() == [a_tenant()]
    assert {entry.name.partition("-")[0] for entry in path.parent.iterdir()} == {path.name}


def test_another_writer_past_the_limit_is_busy(path):
    registry = made(path)
    quick = SqlRegistry(sqlite_url(str(path)), busy_timeout_seconds=0.05)
    with registry._writing():
        error = code_of(quick.add, a_tenant("x"))
        assert (error.code, error.retryable) == ("busy", True)
        assert len(quick.tenants()) == 3  # readers do not wait for writers
    quick.add(a_tenant("x"))


WRITER = """
import sys
from tests.kit.rows import a_receipt, a_removal, a_tenant, an_intent
from vault_svc.adapters.registry.lazy import LazyRegistry
from vault_svc.domain.audit import Head
registry = LazyRegistry("", sys.argv[1], busy_timeout_seconds=30.0)
registry.initialise()
name = sys.argv[2]
registry.add(a_tenant(name))
for generation in range(1, 21):
    registry.announce([an_intent(name, generation)])
    registry.commit([a_receipt(name, generation)], {}, head=Head(generation, "ab" * 32))
    assert registry.newest([name])[name].generation == generation
"""


@pytest.mark.xdist_group("race")
def test_processes_that_make_and_write_one_registry_at_once(path):
    names = ["one", "two", "three", "four"]
    running = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), name], cwd=ROOT, stderr=subprocess.PIPE
        )
        for name in names
    ]
    for process in running:
        assert process.wait(timeout=120) == 0, process.stderr.read().decode()
        process.stderr.close()
    registry = LazyRegistry("", str(path))
    rows = registry.tenants()
    assert [(row.tenant_id, row.generation, row.status) for row in rows] == [
        (name, 20, Status.ACTIVE) for name in sorted(names)
    ]
    assert all(len(registry.history(name, 99)) == 20 for name in names)
    assert registry.open_intents(names) == {}


@pytest.mark.xdist_group("race")
def test_one_jail_goes_to_one_of_many(path):
    made(path, rows=0).dispose()
    script = """
import sys
from tests.kit.rows import a_tenant
from vault_svc.adapters.registry.lazy import LazyRegistry
from vault_svc.errors import ColibriError
try:
    LazyRegistry("", sys.argv[1]).add(a_tenant(sys.argv[2], jail="wanted"))
except ColibriError as error:
    print(error.code)
else:
    print("mine")
"""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(path), f"t{number}"],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )
        for number in range(4)
    ]  # fmt: skip
    assert sorted(process.communicate(timeout=120)[0].strip() for process in running) == [
        "jail_taken",
        "jail_taken",
        "jail_taken",
        "mine",
    ]


@pytest.mark.parametrize("driver", ["lazy", "sqlalchemy"])
def test_killed_in_a_transaction_nothing_of_it_is_there(path, driver):
    made(path).dispose()
    script = """
import os, sys
from tests.kit.rows import a_tenant
from vault_svc.adapters.registry import statements
from vault_svc.adapters.registry.schema import tenant_row
if sys.argv[2] == "lazy":
    from vault_svc.adapters.registry.lazy import LazyRegistry
    registry = LazyRegistry(sys.argv[1]).store
    assert "sqlalchemy" not in sys.modules
else:
    from vault_svc.adapters.registry.store import SqlRegistry
    registry = SqlRegistry(sys.argv[1])
with registry._writing() as work:
    assert work.run(statements.ADD, tenant_row(a_tenant("half"))) == 1
    os.kill(os.getpid(), 9)
"""
    line = [sys.executable, "-c", script, sqlite_url(str(path)), driver]
    done = subprocess.run(line, cwd=ROOT, check=False, timeout=60)
    assert done.returncode == -9
    registry = LazyRegistry("", str(path))
    assert [row.tenant_id for row in registry.tenants()] == ["t0", "t1", "t2"]
    registry.add(a_tenant("half"))


def test_a_batch_is_one_transaction_and_few_statements(path):
    """The price of a batch is counted in statements, since time is nobody's promise."""
    from sqlalchemy import event

    registry = made(path, rows=64)
    seen: list[str] = []
    event.listen(
        registry._engine, "before_cursor_execute", lambda *args: seen.append(args[2].split()[0])
    )
    registry.announce([an_intent(f"t{number}") for number in range(64)])
    assert seen == ["BEGIN", "INSERT"]
    seen.clear()
    registry.commit([a_receipt(f"t{number}") for number in range(64)], {}, head=Head(1, "ab" * 32))
    assert seen == ["BEGIN", "INSERT", "UPDATE", "DELETE", "DELETE", "UPDATE"]


def test_newest_and_prune_use_the_index(path):
    made(path)
    from vault_svc.adapters.registry import statements

    values = dict.fromkeys(("t", "kept", "old", "new", "new_parts"), "1")
    plans = []
    for sql in (statements.PRUNE, statements.REDIGEST, statements.END_INTENTS):
        with sqlite3.connect(path) as raw:
            plans += [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
        raw.close()
    assert plans
    assert not [plan for plan in plans if plan.startswith("SCAN")]


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    where = tmp_path / "small"
    where.mkdir()
    _mount(where, "4m")
    yield where
    subprocess.run(["umount", "-l", str(where)], check=True)


@pytest.mark.root
def test_a_full_disk_refuses_what_adds_and_takes_removals(small):
    path = small / "state" / "colibri.sqlite"
    made(path, rows=40).dispose()
    _fill(small)
    # As a command begins: nothing is open, and even SQLite's index file has no room.
    registry = LazyRegistry("", str(path))
    rows = registry.tenants()
    assert len(rows) == 40
    for call, args in (
        (registry.add, (a_tenant("x"),)),
        (registry.announce, ([an_intent("t0")],)),
        (registry.commit, ([a_receipt("t0")], {})),
        (registry.update, ()),
    ):
        if call == registry.update:
            error = code_of(lambda: registry.update(replace(rows[0], tier="x"), expected=rows[0]))
        else:
            error = code_of(call, *args)
        assert (error.code, error.retryable) == ("no_space", True)
    assert registry.tenants() == rows
    registry.dispose()
    for number, row in enumerate(rows):
        registry = LazyRegistry("", str(path))
        closed = replace(row, status=Status.SUSPENDED)
        head = Head(number + 1, "ab" * 32)
        registry.close(closed, removal=a_removal(row.tenant_id), head=head)
        registry.mirror(Head(number + 1, "ab" * 32))
        registry.dispose()
    assert {row.status for row in LazyRegistry("", str(path)).tenants()} == {Status.SUSPENDED}
    (small / "filler").unlink()
    registry = LazyRegistry("", str(path))
    registry.add(a_tenant("x"))
    assert path.with_name("colibri.sqlite-reserve").stat().st_size == RESERVE_BYTES


@pytest.mark.root
def test_without_a_reserve_a_full_disk_stops_removals_too(small):
    """Shows that it is the reserve that lets them through."""
    path = small / "state" / "colibri.sqlite"
    made(path).dispose()
    path.with_name("colibri.sqlite-reserve").unlink()
    _fill(small)
    registry = LazyRegistry("", str(path), reserve_bytes=0)
    closed = replace(a_tenant("t0"), status=Status.SUSPENDED)
    error = code_of(lambda: registry.close(closed, removal=a_removal("t0"), head=None))
    assert error.code == "no_space"


@pytest.mark.root
def test_a_disk_that_fills_while_the_registry_is_open_changes_nothing(small):
    path = small / "state" / "colibri.sqlite"
    registry = made(path)
    error = None
    for number in range(2000):
        try:
            registry.add(a_tenant(f"x{number}", last_error="e" * 40000))
        except ColibriError as caught:
            error = caught
            break
    assert error is not None
    assert error.code == "no_space"
    assert len(registry.tenants()) == 3 + number


@pytest.mark.root
def test_a_read_only_file_system_is_said(tmp_path):
    where = tmp_path / "ro"
    where.mkdir()
    _mount(where, "2m")
    try:
        path = where / "state" / "colibri.sqlite"
        settled(path)
        subprocess.run(["mount", "-o", "remount,ro", str(where)], check=True)
        registry = LazyRegistry("", str(path))
        assert code_of(registry.add, a_tenant("x")).code == "read_only"
        registry.dispose()
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


def _mount(where: Path, size: str) -> None:
    if not shutil.which("mount"):
        pytest.skip("no mount program")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(where)],
        check=False, capture_output=True,
    )  # fmt: skip
    if done.returncode:
        pytest.skip("this host lets root mount nothing")


def _fill(where: Path) -> None:
    descriptor = os.open(where / "filler", os.O_WRONLY | os.O_CREAT, 0o600)
    size = 65536
    while size:
        try:
            os.write(descriptor, b"x" * size)
        except OSError:
            size //= 2
    os.close(descriptor)
