"""The hunters' own eyes: a canary planted in each place, in each shape, is found by them."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import subprocess
import sys
import urllib.parse

import pytest

from tests.canary import hunter, life
from tests.canary.marks import BLOCK, Marks, fresh_value, host_key_marks, identity_marks

pytestmark = pytest.mark.canary

SLEEP = "import sys, time; print('up', flush=True); time.sleep(60)"
ENCODINGS = {
    "as it is": lambda v: v.encode(),
    "base64": lambda v: base64.b64encode(v.encode()),
    "base64 within something": lambda v: base64.b64encode(b"{'x': '" + v.encode() + b"'}"),
    "base64url": lambda v: base64.urlsafe_b64encode(b"?" + v.encode()),
    "base32": lambda v: base64.b32encode(v.encode()),
    "hex": lambda v: v.encode().hex().encode(),
    "HEX": lambda v: v.encode().hex().upper().encode(),
    "url-quoted": lambda v: urllib.parse.quote(v, safe="").encode(),
    "every letter url-quoted": lambda v: "".join(f"%{ord(c):02X}" for c in v).encode(),
    "utf-16": lambda v: v.encode("utf-16"),
    "utf-16 big endian": lambda v: v.encode("utf-16-be"),
    "json": lambda v: json.dumps({"v": v}).encode(),
    "json escapes": lambda v: "".join(f"\\u{ord(c):04x}" for c in v).encode(),
    "repr of bytes": lambda v: repr(v.encode()).encode(),
    "numbers": lambda v: repr(list(v.encode())).encode(),
    "backwards": lambda v: v[::-1].encode(),
    "cut short": lambda v: v[:-3].encode(),
    "its tail only": lambda v: v[8:].encode(),
}


@pytest.fixture
def marks():
    made = Marks()
    made.add("planted", fresh_value())
    return made


def planted(marks: Marks) -> str:
    """Return the text that was marked: its first and last pieces."""
    return b"-".join(marks.pieces["planted"]).decode()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_shape_is_known(encoding):
    value, made = fresh_value(), Marks()
    made.add("planted", value)
    made.add("another", fresh_value())
    around = b"\x00some line before " + ENCODINGS[encoding](value) + b" and after\n"
    assert made.find(around) == {"planted"}
    assert made.find(ENCODINGS[encoding](fresh_value())) == set()


@pytest.mark.parametrize("at", [0, BLOCK - 40, BLOCK - 1, BLOCK, 2 * BLOCK - 7, 3 * BLOCK])
def test_a_large_file_hides_nothing_at_the_edges_of_its_blocks(at):
    value, made = fresh_value(), Marks()
    made.add("planted", value)
    blank = bytes(4 * BLOCK)
    assert made.find(blank) == set()
    encoded = value.encode("utf-16-le")
    assert made.find(blank[:at] + encoded + blank[at:]) == {"planted"}
    assert made.find(blank) == set()
    made.add("planted later", "\0" * 12)
    assert made.find(blank) == {"planted later"}


@pytest.mark.parametrize("where", ["cmdline", "environ"])
def test_what_a_process_was_given_is_seen(marks, where):
    value = planted(marks)
    extra = [value] if where == "cmdline" else []
    environ = {"INNOCENT": value} if where == "environ" else {}
    with subprocess.Popen(
        [sys.executable, "-c", SLEEP, *extra], env=environ, stdout=subprocess.PIPE
    ) as child:
        try:
            child.stdout.readline()
            found, hidden = hunter.in_process(child.pid, marks)
        finally:
            child.kill()
    assert (where, "planted") in found
    assert not hidden


@pytest.mark.parametrize("where", ["fd content", "fd name"])
def test_what_a_process_holds_open_is_seen(marks, tmp_path, where):
    """Also where the file has no name any more."""
    name = planted(marks) if where == "fd name" else "innocent"
    path = tmp_path / name.replace("/", "_")
    path.write_text(planted(marks) if where == "fd content" else "")
    code = f"import os; f = open({str(path)!r}); os.unlink({str(path)!r}); " + SLEEP
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        try:
            child.stdout.readline()
            found, _ = hunter.in_process(child.pid, marks)
        finally:
            child.kill()
    assert (where, "planted") in found


def test_the_process_that_sweeps_sees_all_of_that(bare_host):
    """The very hunter of the whole life, and processes that live half a second."""
    value = bare_host.value("planted")
    brief = [sys.executable, "-c", "import time; time.sleep(0.5)"]
    with life.hunted(bare_host) as hunt:
        in_argv = subprocess.run([*brief, value], check=True, env={})
        in_environ = subprocess.run(brief, check=True, env={"X": value})
        _in("audit/audit.jsonl")(bare_host, value)
        (bare_host.around / "tmp" / "left").write_text(value)
        # Not one event later, but a whole sweep: that is what a second telling waits for.
        life.tell(hunt["process"], bare_host.marks)
        life.tell(hunt["process"], bare_host.marks)
    assert in_argv.returncode == in_environ.returncode == 0
    places = {place.partition(" of ")[0] for place, _ in hunt["found"]}
    assert {"cmdline", "environ", "content"} <= places
    files = {place.rpartition(" ")[2] for place, _ in hunt["found"]}
    assert {"audit/audit.jsonl", "tmp/left"} <= files


def _database(host, value):
    connection = sqlite3.connect(host.state / "colibri.sqlite")
    with connection:
        connection.execute("CREATE TABLE planted (x)")
        connection.execute("INSERT INTO planted VALUES (?)", (value,))
    connection.close()


def _write_ahead_log(host, value):
    connection = sqlite3.connect(host.state / "colibri.sqlite")
    connection.execute("PRAGMA journal_mode = WAL")
    with connection:
        connection.execute("CREATE TABLE planted (x)")
        connection.execute("INSERT INTO planted VALUES (?)", (value,))
    wal = (host.state / "colibri.sqlite-wal").read_bytes()
    connection.close()
    (host.state / "colibri.sqlite-wal").write_bytes(wal)


def _in(name):
    def plant(host, value):
        path = host.state / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as opened:
            opened.write(value)

    return plant


def _around(name):
    return lambda host, value: (host.around / name).write_text(value)


def _file_name(host, value):
    (host.state / value.replace("/", "_")).touch()


def _link(host, value):
    (host.state / "innocent").symlink_to(value)


PLACES = {
    "database": _database,
    "write-ahead log": _write_ahead_log,
    "audit log": _in("audit/audit.jsonl"),
    "lock file": _in("provision.lock"),
    "collection": _in("store/acme.age"),
    "temporary file in the store": _in("store/.acme.age.tmp-0"),
    "beside the delivered file": _in("jails/acme/root/.env.bak"),
    "elsewhere in the jail": _in("jails/acme/root/home/app/.env"),
    "the jail's record": _in("jails/acme/jail.json"),
    "TMPDIR": _around("tmp/x"),
    "HOME": _around("home/.history"),
    "core": _around("cwd/core.1"),
    "file name": _file_name,
    "link": _link,
}


@pytest.mark.parametrize("place", PLACES)
def test_what_lies_in_a_file_is_seen(bare_host, place):
    value = bare_host.value("planted")
    bare_host.look()
    assert bare_host.found == set()
    PLACES[place](bare_host, value)
    bare_host.look()
    assert {name for _, name in bare_host.found} == {"value planted 0"}


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_is_said_is_seen(bare_host, stream):
    value = bare_host.value("planted")
    bare_host.said.append(
        life.Said(("planted",), 0, 0, **{"stdout": b"", "stderr": b"", stream: value.encode()})
    )
    bare_host.look()
    assert bare_host.found == {(f"{stream} of ('planted',)", "value planted 0")}


def test_credentials_are_known_in_every_form(host):
    """The key as it is kept, raw and as used; the identity as text and as the number it encodes."""
    home = host.state / "credentials"
    made = Marks()
    for name, forms in host_key_marks(home / "host.key").items():
        made.add(name, *forms)
    key = bytes.fromhex(json.loads((home / "host.key").read_text())["keys"]["k1"])
    assert made.find(b"..." + key + b"...") == {"host key k1"}
    assert made.find(base64.b64encode(b"x" + key)) == {"host key k1"}
    for name, forms in identity_marks(home / "embedded.age", "identity").items():
        made.add(name, *forms)
        assert len(forms[2]) == 32
    assert made.find((home / "embedded.age").read_bytes()) == {"identity 0"}
    assert made.find(os.urandom(10_000)) == set()
