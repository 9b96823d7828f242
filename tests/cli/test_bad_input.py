"""Bad input, bad files, bad disks: one clear line, a stable code, a hint, and nothing lost."""

from __future__ import annotations

import gc
import hashlib
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.kit.arena import mounted
from tests.kit.cli import Cli, Result
from vault_svc.errors import CODES

MARK = "s3cr3t-mark-8271"
NEW = "--create-jail --tier scratch"


@dataclass(frozen=True)
class Case:
    """What is wrong, what is run, and the code of the answer; arrange spoils a working host."""

    name: str
    line: str
    code: str
    stdin: bytes = b""
    arrange: Callable[[Cli], object] = lambda cli: None
    words: tuple[str, ...] | None = None  # instead of line, where a word has a space or a NUL

    @property
    def argv(self) -> tuple[str, ...]:
        return self.words or tuple(self.line.split())


def _bad_ids() -> Iterator[Case]:
    bad = ["Acme", "a--b", "-a", "a-", "1a", "a" * 33, "a_b", "../acme", "a/b", "ümlaut", "аcme"]
    for text in [*bad, "", "a b", "a\nb", "a\0b"]:
        words = ("register-tenant", *NEW.split(), "--", text)
        yield Case(f"id {text!r}", "", "tenant_name_refused", words=words)
    for text in ("system", "clawdie", "colibri", "root", "all", "skills", "x-ops", "x-web"):
        yield Case(f"reserved id {text}", f"register-tenant {text} {NEW}", "tenant_reserved")
    for text in ("ALL", "all", "host", "17", "a*", "../acme"):
        line = f"register-tenant beta --jail {text} --no-collection {NEW}"
        yield Case(f"jail {text}", line, "jail_name_refused")
    for text in ("../acme", "A", "a.age", "a\0"):
        words = ("secret", "set", text, "API_KEY")
        yield Case(f"collection {text!r}", "", "usage", stdin=b"x", words=words)
    for text in ("api_key", "A-B", "1A", "_", "A" * 129, "LD_PRELOAD", "PATH", "", "Ä", "A\0"):
        words = ("secret", "set", "acme", text)
        yield Case(f"variable {text[:9]!r}", "", "secret_name_refused", stdin=b"x", words=words)
    for text in ("relative", "/../x", "//x", "/a/", "/a/./b", "/", "", "/a\nb", "/é", "/a\0b"):
        options = ("--no-collection", "--env-path", text, *NEW.split())
        yield Case(f"path {text!r}", "", "bad_path", words=("register-tenant", "beta", *options))
    for text in ("me", "1", "1:", ":1", "-1:1", "4294967295:1", "1:1:1", "٣:٣"):
        words = ("register-tenant", "beta", "--no-collection", f"--owner={text}")
        yield Case(f"owner {text}", "", "usage", words=words)


def _taken() -> Iterator[Case]:
    bare = "--no-collection"
    yield Case("tenant twice", f"register-tenant acme {NEW}", "tenant_exists")
    yield Case(
        "jail twice", f"register-tenant beta --jail acme {bare} --tier scratch", "jail_taken"
    )
    line = f"register-tenant beta --jail acme {bare} {NEW}"
    yield Case("jail made twice", line, "jail_taken")
    yield Case("jail created twice", "jail create acme", "jail_taken")
    yield Case("jail in use destroyed", "jail destroy acme", "jail_taken")
    line = f"register-tenant beta --collection acme {NEW}"
    yield Case("collection twice", line, "collection_taken")
    yield Case("no such collection", f"register-tenant beta {NEW}", "collection_not_found")
    yield Case("no such jail", f"register-tenant beta {bare} --tier scratch", "jail_not_found")
    yield Case("no such tenant", "provision beta", "tenant_not_found")
    yield Case("no such secret", "secret unset acme NOPE", "secret_missing")
    yield Case(
        "another root",
        f"register-tenant beta --jail spare --jail-root /srv {bare} --tier scratch",
        "jail_root_mismatch",
        arrange=lambda cli: cli.must("jail", "create", "spare"),
    )


def _bad_values() -> Iterator[Case]:
    mark, put = MARK.encode(), "secret set acme API_KEY"
    cannot = "secret_value_unrepresentable"
    yield Case("NUL", put, cannot, mark + b"\0")
    yield Case("invalid UTF-8", put, cannot, mark + b"\xff")
    yield Case("huge value", put, cannot, mark * 9000)
    yield Case("endless value", put, "usage", bytes(16 * 1024 * 1024 + 1))
    for name, data in {
        "NUL": b"A=" + mark + b"\0\n",
        "invalid UTF-8": b"A=\xff" + mark + b"\n",
        "no assignment": mark + b"\n",
        "open quote": b"A='" + mark + b"\n",
        "byte order mark": b"\xef\xbb\xbfA=" + mark + b"\n",
        "nothing": b"# only a comment\n",
        "a huge value": b"A=" + mark * 9000 + b"\n",
        "10,000 variables": b"".join(b"K%d=x\n" % n for n in range(10_000)),
    }.items():
        code = {"a huge value": cannot}.get(name, "usage")
        yield Case(f"import of {name}", "secret import acme -", code, data)
    twice = b"A=x\nA=" + mark + b"\n"
    yield Case("import of a name twice", "secret import acme -", "secret_ambiguous", twice)
    lower = b"a=" + mark + b"\n"
    yield Case("import of a bad name", "secret import acme -", "secret_name_refused", lower)
    yield Case("import of a directory", "secret import acme /", "usage")
    yield Case("import of no file", "secret import acme /nonexistent", "usage")
    yield Case("import of a device", "secret import acme /dev/zero", "usage")
    for name, value in {
        "a space": b"two words " + mark,
        "two lines": mark + b"\nPATH=/evil",
        "40 KiB": mark * 2600,
        "a dollar": b"$" + mark,
    }.items():
        yield Case(
            f"delivery of {name}",
            "provision acme",
            cannot,
            arrange=lambda cli, value=value: cli.must(
                "secret", "set", "acme", "OTHER", stdin=value
            ),
        )
    yield Case(
        "an empty collection",
        "provision acme",
        "collection_empty",
        arrange=lambda cli: cli.must("secret", "unset", "acme", "API_KEY"),
    )


def _bad_store() -> Iterator[Case]:
    def damaged(edit: Callable[[Path], object], path: str) -> Callable[[Cli], object]:
        return lambda cli: edit(cli.state / path)

    files = {
        "store/acme.age": ("source_incomplete", "collection_not_found", "source_incomplete"),
        "credentials/embedded.age": ("credential_unsafe", "credential_missing", ""),
        "credentials/host.key": ("credential_unsafe", "credential_missing", "credential_missing"),
    }
    for path, (unsafe, missing, garbage) in files.items():
        cases = {
            "readable by others": (lambda p: p.chmod(0o644), unsafe),
            "a link": (_linked, unsafe),
            "a directory": (_made_directory, unsafe),
            "missing": (lambda p: p.unlink(), missing),
            "garbage": (lambda p: p.write_bytes(b"garbage\n"), garbage or "credential_missing"),
            "empty": (lambda p: p.write_bytes(b""), garbage or "credential_missing"),
        }
        for how, (edit, code) in cases.items():
            yield Case(f"{path} {how}", "provision acme", code, arrange=damaged(edit, path))
    cut = damaged(lambda p: os.truncate(p, 150), "store/acme.age")
    yield Case("collection cut short", "secret list acme", "source_incomplete", arrange=cut)


def _linked(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _made_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _bad_registry() -> Iterator[Case]:
    def registry(edit: Callable[[Path], object]) -> Callable[[Cli], object]:
        return lambda cli: edit(cli.state / "colibri.sqlite")

    for how, edit in {
        "garbage": lambda p: p.write_bytes(b"garbage " * 1000),
        "cut short": lambda p: os.truncate(p, 5000),
        "empty": lambda p: p.write_bytes(b""),
        "a directory": _made_directory,
        "a link": _linked,
        "readable by others": lambda p: p.chmod(0o644),
    }.items():
        for line in ("list-tenants", "provision acme", "revoke acme"):
            name = f"registry {how}: {line}"
            yield Case(name, line, "registry_corrupt", arrange=registry(edit))
    newer = registry(lambda p: _sql(p, "UPDATE alembic_version SET version_num = '9999'"))
    for line in ("list-tenants", "provision acme", "init"):
        yield Case(f"newer schema: {line}", line, "registry_newer", arrange=newer)
    gone = registry(lambda p: p.unlink())
    yield Case("registry missing", "list-tenants", "usage", arrange=gone)


def _sql(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def _bad_jail() -> Iterator[Case]:
    def root(edit: Callable[[Path], object]) -> Callable[[Cli], object]:
        return lambda cli: edit(cli.jail_root("acme"))

    def base(edit: Callable[[Path], object]) -> Callable[[Cli], object]:
        return lambda cli: edit(cli.state / "jails")

    line = "provision acme"
    yield Case("root missing", line, "jail_root_not_plain", arrange=root(shutil.rmtree))
    gone = root(lambda p: shutil.rmtree(p.parent))
    yield Case("jail missing", line, "jail_not_found", arrange=gone)
    yield Case("root a link", line, "jail_root_not_plain", arrange=root(_linked))
    yield Case("root made anew", line, "jail_root_mismatch", arrange=root(_made_anew))
    yield Case("root a file", line, "jail_root_not_plain", arrange=root(_made_file))
    yield Case("base writable", line, "unsafe_base", arrange=base(lambda p: p.chmod(0o777)))
    yield Case("base sticky", line, "unsafe_base", arrange=base(lambda p: p.chmod(0o1777)))
    yield Case("base a link", line, "unsafe_base", arrange=base(_linked))

    def inside(edit: Callable[[Path], object]) -> Callable[[Cli], object]:
        return lambda cli: edit(cli.jail_root("acme") / "home/app")

    yield Case("parent a link", line, "path_not_plain", arrange=inside(_linked))
    yield Case("parent missing", line, "path_missing", arrange=inside(shutil.rmtree))
    yield Case(
        "a directory in the file's place",
        line,
        "target_not_regular",
        arrange=inside(lambda p: _made_directory(p / ".env")),
    )


def _made_anew(path: Path) -> None:
    path.rename(path.with_name("old"))
    path.mkdir()


def _made_file(path: Path) -> None:
    path.rename(path.with_name("old"))
    path.write_text("")


def _bad_settings() -> Iterator[Case]:
    for name, text in {
        "unknown key": "max_valu_bytes = 1\n",
        "no TOML": "max_value_bytes = \n",
        "wrong type": 'batch_size = "many"\n',
        "too small": "batch_size = 0\n",
        "a table": "[database]\npath = 1\n",
        "relative path": 'db_path = "colibri.sqlite"\n',
        "unknown walk": 'walk = "jump"\n',
        "unknown engine": 'default_engine = "warp"\n',
    }.items():
        line = "jail create beta" if "engine" in name else "list-tenants"
        yield Case(
            f"settings: {name}",
            line,
            "usage",
            arrange=lambda cli, text=text: cli.config.write_text(text),
        )
    yield Case("settings: missing file", "--config /nonexistent list-tenants", "usage")
    yield Case(
        "settings: unknown variable",
        "list-tenants",
        "usage",
        arrange=lambda cli: cli.settings.update(COLIBRI_MAX_VALU_BYTES="1"),
    )


CASES = [
    *_bad_ids(),
    *_taken(),
    *_bad_values(),
    *_bad_store(),
    *_bad_registry(),
    *_bad_jail(),
    *_bad_settings(),
]


@pytest.fixture
def host(cli: Cli) -> Cli:
    """A host with one tenant delivered."""
    cli.tenant("acme")
    cli.must("provision", "acme")
    return cli


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_one_line_and_nothing_is_lost(host: Cli, case: Case) -> None:
    case.arrange(host)
    before = _held(host)
    result = host.run(*case.argv, stdin=case.stdin)
    _is_clear(result, case.code)
    _nothing_lost(before, _held(host))


def _is_clear(result: Result, code: str) -> None:
    error = result.error
    assert error["code"] == code, result.stderr
    assert result.status == CODES[code].status
    assert error["hint"]
    assert result.stdout == b""
    assert MARK not in result.stderr


def _held(cli: Cli) -> dict[str, Any]:
    """Everything there is to lose: each file's identity and bytes, the log, the rows."""
    found: dict[str, Any] = {}
    for path in sorted(cli.home.rglob("*")):
        name = str(path.relative_to(cli.home))
        if name.startswith("state/colibri.sqlite") or path.name.endswith(".lock"):
            continue
        status = path.lstat()
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_dir():
            found[name] = (status.st_ino, status.st_mode)
        elif name == "state/audit/audit.jsonl":
            found[name] = path.read_bytes()
        else:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[name] = (status.st_ino, status.st_mode, status.st_mtime_ns, digest)
    found["rows"] = _rows(cli.state / "colibri.sqlite")
    return found


def _rows(path: Path) -> Any:
    """Return the registry's rows, less what a failure may note; its bytes if it has no rows."""
    if not path.is_file() or path.is_symlink():
        return path.is_dir()
    try:
        with _copied(path) as copy, closing(sqlite3.connect(copy)) as connection:
            connection.row_factory = sqlite3.Row
            tables = "SELECT name FROM sqlite_master WHERE type = 'table'"
            names = [row[0] for row in connection.execute(tables)]
            assert {"tenants"} <= set(names)
            return {
                name: [
                    {k: row[k] for k in row.keys() if k != "last_error"}  # noqa: SIM118
                    for row in connection.execute(f"SELECT * FROM {name}")
                ]
                for name in names
                if "audit" not in name
            }
    except (sqlite3.Error, AssertionError):
        return path.read_bytes()


@contextmanager
def _copied(path: Path) -> Iterator[Path]:
    """A copy elsewhere: looking must not need space, nor leave files, beside the original."""
    with tempfile.TemporaryDirectory() as directory:
        for each in path.parent.glob(f"{path.name}*"):
            shutil.copy(each, directory)
        yield Path(directory) / path.name


def _nothing_lost(before: dict[str, Any], after: dict[str, Any]) -> None:
    log = "state/audit/audit.jsonl"
    assert after.pop(log, b"").startswith(before.pop(log, b"")), "audit lines were lost"
    assert after == before


def test_the_oracle_sees_what_is_lost(host: Cli) -> None:
    before = _held(host)
    _nothing_lost(dict(before), _held(host))
    for spoil in (
        lambda: host.must("suspend", "acme"),
        lambda: (host.state / "store" / "acme.age").write_bytes(b""),
        lambda: (host.state / "audit" / "audit.jsonl").write_bytes(b""),
        (host.jail_root("acme") / "home/app/.env").touch,
    ):
        kept = _held(host)
        spoil()
        with pytest.raises(AssertionError):
            _nothing_lost(dict(kept), _held(host))


def test_ten_thousand_variables_fit_where_the_operator_says_so(cli: Cli) -> None:
    cli.settings["COLIBRI_MAX_SECRETS_PER_COLLECTION"] = "10000"
    many = b"".join(b"K%05d=value-%d\n" % (n, n) for n in range(10_000))
    cli.must("secret", "import", "acme", "-", stdin=many)
    cli.register("acme")
    cli.must("provision", "acme")
    delivered = (cli.jail_root("acme") / "home/app/.env").read_bytes()
    assert delivered.partition(b"\n")[2] == many


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every directory")
def test_unreadable_base(host: Cli) -> None:
    base = host.state / "jails"
    before = _held(host)
    base.chmod(0)
    try:
        result = host.run("provision", "acme")
    finally:
        base.chmod(0o700)
    assert result.error["code"] in {"unsafe_base", "read_only"}
    assert result.error["hint"]
    _nothing_lost(before, _held(host))


@contextmanager
def _small_disk(home: Path, size: str = "2m") -> Iterator[Cli]:
    cli = Cli(home)
    cli.state.mkdir(mode=0o700)
    with mounted("tmpfs", "tmpfs", cli.state, f"size={size},mode=0700"):
        cli.ready()
        cli.tenant("acme")
        cli.must("provision", "acme")
        gc.collect()  # closes this process's registry connections: no WAL is tidied up later
        yield cli


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


WRITING = [
    ("secret set acme API_KEY", b"another-value"),
    ("secret set other API_KEY", b"another-value"),
    (f"register-tenant beta --no-collection {NEW}", b""),
    ("jail create beta", b""),
    ("key rotate identity", b""),
]
REMOVING = ["suspend acme", "revoke acme", "offboard acme"]


@pytest.mark.root
@pytest.mark.parametrize(("line", "stdin"), WRITING, ids=[line for line, _ in WRITING])
def test_full_disk(state_dir: Path, line: str, stdin: bytes) -> None:
    with _small_disk(state_dir) as cli:
        _fill(cli.state / "filled")
        before = _held(cli)
        result = cli.run(*line.split(), stdin=stdin)
        assert result.error["code"] in {"no_space", "audit_unwritable"}
        assert result.status == 10
        assert result.error["hint"]
        _nothing_lost(before, {k: v for k, v in _held(cli).items() if "/.new-" not in k})
        (cli.state / "filled").unlink()
        cli.must(*line.split(), stdin=stdin)
        assert not list(cli.state.rglob(".new-*")), "what a full disk left behind is not swept"


@pytest.mark.root
def test_full_disk_stops_a_delivery_and_keeps_the_last_one(state_dir: Path) -> None:
    with _small_disk(state_dir) as cli:
        cli.must("secret", "set", "acme", "API_KEY", stdin=b"rotated")
        _fill(cli.state / "filled")
        before = _held(cli)
        result = cli.run("provision", "acme")
        assert result.error["code"] in {"no_space", "audit_unwritable"}
        after = _held(cli)
        env = next(name for name in before if name.endswith("/.env"))
        assert after[env] == before[env]
        (cli.state / "filled").unlink()
        cli.must("provision", "acme")
        assert "rotated" in (cli.jail_root("acme") / "home/app/.env").read_text()
        cli.must("audit", "verify")


@pytest.mark.root
@pytest.mark.parametrize("line", REMOVING)
def test_full_disk_never_keeps_a_secret_in_a_jail(state_dir: Path, line: str) -> None:
    with _small_disk(state_dir) as cli:
        env = cli.jail_root("acme") / "home/app/.env"
        _fill(cli.state / "filled")
        cli.run(*line.split())
        assert not env.exists()


@contextmanager
def _read_only(path: Path) -> Iterator[None]:
    subprocess.run(["mount", "-o", "remount,ro", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(path)], check=True)


@pytest.mark.root
@pytest.mark.parametrize(
    ("line", "stdin"),
    [*WRITING, ("revoke acme", b""), ("key rotate host", b"")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_read_only_disk(state_dir: Path, line: str, stdin: bytes) -> None:
    with _small_disk(state_dir) as cli:
        before = _held(cli)
        with _read_only(cli.state):
            result = cli.run(*line.split(), stdin=stdin)
        assert result.error["code"] in {"read_only", "audit_unwritable"}
        assert result.status == 10
        assert result.error["hint"]
        _nothing_lost(before, _held(cli))
        # A process of its own: in this one SQLite may share the -shm file of the read-only disk.
        cli.process(*line.split(), stdin=stdin).must()


@pytest.mark.root
@pytest.mark.parametrize(
    "line",
    ["audit tail", "secret list acme", "jail list", "list-tenants", "show-tenant acme",
     "verify --all"],
)  # fmt: skip
def test_read_only_disk_can_still_be_looked_at(state_dir: Path, line: str) -> None:
    with _small_disk(state_dir) as cli, _read_only(cli.state):
        found = cli.must(*line.split()).text
        assert ("API_KEY" if line.startswith("secret") else "acme") in found
