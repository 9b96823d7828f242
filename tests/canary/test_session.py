"""The organisation's account through logins, deliveries and failures of the real bw.

It is in one child's environment while that logs in (bw takes it from nowhere else, SECURITY.md),
in the credential, and nowhere else at any time; the values are in the delivered file alone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.canary import life
from tests.canary.marks import fresh_value
from tests.canary.watch import SESSION, Watch, session_keys
from tests.kit import bw
from tests.kit.vaultwarden import Cut, Double, Slow, Status

pytestmark = [pytest.mark.canary, pytest.mark.xdist_group("bw-canary")]

IN_ITS_PLACE = {("login", "environ", "client secret"), ("list", "environ", SESSION)}


class Server:
    """A host, a double with a tenant's collection, and every secret of both marked."""

    def __init__(self, host: life.Host, double: Double) -> None:
        self.host, self.double = host, double
        double.client_secret = fresh_value()
        double._watch_own()
        marks = host.marks
        marks.add("client secret", double.client_secret)
        marks.add("master password", double.password)
        self.acme = double.add_collection("acme")
        marks.add("value", value := fresh_value())
        double.add_login(self.acme, "KEY", value)
        self.runtime = host.around / "runtime"
        self.runtime.mkdir(mode=0o700)
        self.settings = {"COLIBRI_BW_RUNTIME_DIR": str(self.runtime)}

    def colibri(self, *arguments: str, status: int | None = 0, stdin: str = "", **more: str):
        """Run one command loudly; hunt in what it said and left."""
        settings = self.settings | {f"COLIBRI_{name.upper()}": text for name, text in more.items()}
        said = self.host.colibri("-v", *arguments, status=status, stdin=stdin, extra=settings)
        assert not session_keys(said.stdout + said.stderr)
        assert os.listdir(self.runtime) == []
        return said

    def login(self) -> None:
        installed, double = bw.installed(), self.double
        argv = ("--server", double.url, "--organization", "Acme", "--bw", str(installed.script),
                "--node", str(installed.node), "--ca-file", str(double.ca_file))  # fmt: skip
        lines = f"{double.client_id}\n{double.client_secret}\n{double.password}\n"
        self.colibri("source", "login", "vaultwarden", *argv, stdin=lines)

    def refused(self, code: str, *arguments: str, **more: str) -> None:
        said = self.colibri(*arguments, status=None, **more)
        assert said.status != 0
        assert code.encode() in said.stdout + said.stderr, said
        self.double.faults.clear()
        (self.host.state / "vaultwarden.circuit").unlink(missing_ok=True)


@pytest.fixture
def server(host, tmp_path_factory):
    with Double(tmp_path_factory.mktemp("double"), password=fresh_value()) as double:
        yield Server(host, double)


def test_no_process_no_file_and_no_word_ever_holds_what_it_should_not(server):
    host, double = server.host, server.double
    with Watch(host.marks) as watch:
        server.login()
        argv = ("register-tenant", "acme", "--source", "vaultwarden", "--create-jail")
        server.colibri(*argv, "--tier", "scratch")
        server.colibri("provision", "--all")
        delivered = host.env_file("acme").read_bytes()
        assert host.marks.find(delivered) == {"value"}  # the hunt's eyes
        server.colibri("provision", "--all", "--json", bw_transport="cli")
        for action in ("show", "doctor"):
            server.colibri("source", action, "vaultwarden", "--json", status=None)
        _failures(server)
        assert host.env_file("acme").read_bytes() == delivered
        server.colibri("source", "logout", "vaultwarden")
        assert host.marks.find(_everything(host.state / "credentials")) == set()
    assert host.found == set()
    assert {"login", "serve", "unlock", "list"} <= watch.steps
    assert (
        watch.seen - {("login", "environ", "client secret"), ("list", "environ", SESSION)} == set()
    )
    assert ("login", "environ", "client secret") in watch.seen  # and the watch's
    assert not double.log.seen() - {"client_secret"}, "the password never left this host"


def _failures(server: Server) -> None:
    double, once = server.double, ("provision", "acme")
    for step, fault, code, more in (
        ("token", Status(401), "source_auth_failed", {}),
        ("sync", Cut(), "source_incomplete", {"bw_transport": "cli"}),
        ("sync", Slow(30), "helper_timeout", {"bw_timeout_seconds": "4"}),
    ):
        double.faults.at(step, fault)
        server.refused(code, *once, **more)
    right = double.password
    double.change_password(wrong := fresh_value())
    server.host.marks.add("other password", wrong)
    server.refused("source_auth_failed", *once, "--json")
    double.change_password(right)
    double.add_note(server.acme, "n", "KEY=twice")
    server.refused("secret_ambiguous", "provision", "--all")


def _everything(top: Path) -> bytes:
    return b"".join(path.read_bytes() for path in top.rglob("*") if path.is_file())


def test_after_kill_9_what_is_left_is_private_and_the_next_read_sweeps_it(server):
    host, step = server.host, "sync"
    server.login()
    server.double.log.clear()
    server.double.faults.at(step, Slow(30))
    with host.started("source", "test", "vaultwarden", extra=server.settings) as child:
        _until(lambda: server.double.log.count(step) or child.poll() is not None)
        time.sleep(0.2)
        child.send_signal(signal.SIGKILL)
        child.wait()
    _until(lambda: not _with_appdata(server.runtime))
    (left,) = server.runtime.iterdir()
    assert left.stat().st_mode & 0o7777 == 0o700
    assert {path.stat().st_mode & 0o077 for path in left.rglob("*")} <= {0}
    assert not host.marks.find(_everything(left)) - {"client secret"}
    server.double.faults.clear()
    server.colibri("source", "test", "vaultwarden")
    assert host.found == set()


def _until(met) -> None:
    give_up = time.monotonic() + 30
    while not met():
        assert time.monotonic() < give_up
        time.sleep(0.02)


def _with_appdata(runtime: Path) -> list[str]:
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if str(runtime).encode() in Path("/proc", name, "environ").read_bytes():
                found.append(name)
        except OSError:
            continue
    return found


@pytest.mark.parametrize("where", ["cmdline", "environ"])
@pytest.mark.parametrize("planted", ["master password", SESSION])
def test_the_watch_sees_a_careless_bw(bare_host, where, planted):
    """The control: the naive ways, `--session KEY` and BW_PASSWORD, are both seen."""
    secret = fresh_value() if planted != SESSION else "A" * 86 + "=="
    bare_host.marks.add(planted, secret)
    argv = [sys.executable, "-c", "import time; time.sleep(0.5)", "list"]
    environ = {"BITWARDENCLI_APPDATA_DIR": "/x"}
    if where == "cmdline":
        argv.append(secret)
    else:
        environ["BW_PASSWORD"] = secret
    with Watch(bare_host.marks) as watch:
        subprocess.run(argv, env=environ, check=True)
    assert ("list", where, planted) in watch.seen
