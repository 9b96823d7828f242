"""Callers of `colibri hook serve` and services that are none: each jail starts all the same."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
import threading
import time
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest

from cli import hook_call
from tests.hook.containers import SHORT_WAY
from tests.hook.serving import (
    VALUE,
    call,
    connected,
    events,
    held,
    only_served,
    plain,
    root,
    seconds_worked,
    until,
)
from tests.kit.cli import INSTALLED, Cli


def _impostor(directory: Path, answer: bytes) -> threading.Thread:
    """Listen where the service would, in a directory of the given kind."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / "serve.sock"))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        connection.recv(1 << 16)
        connection.sendall(answer)
        connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return thread


IMPOSTOR = b"+0 0 11\nmay start!\n"


def test_a_socket_where_others_could_have_put_it_is_not_asked(acme, tmp_path):
    hooks = acme.state / "hooks"
    hooks.mkdir(mode=0o700)
    _impostor(hooks, IMPOSTOR)
    assert call(acme, *plain(acme)).stderr == "may start!\n"  # the impostor would be believed
    (hooks / "serve.sock").unlink()
    _impostor(hooks, IMPOSTOR)
    hooks.chmod(0o711)
    said = call(acme, *plain(acme))
    assert said.stderr != "may start!\n"
    hooks.chmod(0o700)


ODD_ANSWERS = [
    b"",
    b"-",
    b"?",
    b"+",
    b"+0",
    b"+0 5 0\nab",
    b"+x y z\n",
    b"+0 -1 0\n",
    b"+999 0\n",
    b"+" + b"9" * 5000 + b" 0 0\n",
]


@pytest.mark.parametrize("answer", ODD_ANSWERS)
def test_an_answer_that_broke_off_or_is_none_is_as_if_nobody_served(acme, answer):
    (acme.state / "hooks").mkdir(mode=0o700)
    _impostor(acme.state / "hooks", answer)
    assert call(acme, *plain(acme)).must().stderr.endswith("delivered, generation 1\n")


def _silent(cli: Cli) -> socket.socket:
    """Listen where the service would, and accept nobody."""
    (cli.state / "hooks").mkdir(mode=0o700, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(cli.state / "hooks/serve.sock"))
    listener.listen(0)
    return listener


def test_one_that_takes_nobody_is_not_waited_for(acme, monkeypatch, capfd):
    listener = _silent(acme)
    monkeypatch.setattr(hook_call, "_PATIENCE", 0.2)
    line = [str(acme.state / "hooks"), "60", "/nowhere/colibri", "hook", *plain(acme)]
    assert hook_call.main(line) == 1
    assert "cannot start '/nowhere/colibri'" in capfd.readouterr().err
    listener.close()


def test_one_whose_queue_is_full_is_not_waited_for_either(acme):
    """Callers who have gone stay in the queue of a service that was stopped."""
    listener = _silent(acme)
    with suppress(BlockingIOError):
        while True:
            gone = socket.socket(socket.AF_UNIX)
            gone.setblocking(False)
            gone.connect(str(acme.state / "hooks/serve.sock"))
            gone.close()
    assert call(acme, *plain(acme)).must().stderr.endswith("delivered, generation 1\n")
    listener.close()


GIVEN_UP = """
import sys
sys.path.insert(0, sys.argv.pop(1))
from cli import hook_call
hook_call._GRACE = 0.0
sys.exit(hook_call.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("options", [(), ("--on-provision-failure=continue", "--json")])
def test_one_that_takes_a_call_and_lets_it_lie_leaves_a_second_to_do_it(acme, options):
    listener = _silent(acme)
    words = ["hook", *plain(acme, *options)]
    way = [sys.executable, "-c", GIVEN_UP, str(Path(__file__).parents[2])]
    line = [*way, str(acme.state / "hooks"), "0.3", str(INSTALLED), *words]
    with (
        held(acme) if options else nullcontext(),
        subprocess.Popen(
            line, env=acme.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as caller,
    ):
        taken, _ = listener.accept()
        taken.sendall(b"+")
        out, err = caller.communicate(timeout=30)
    assert caller.returncode == 0
    if options:
        assert json.loads(out)["error"]["code"] == "hook_timeout"
        assert events(acme)[-1] == "started_regardless"
    else:
        assert err.endswith(b"delivered, generation 1\n")
    listener.close()


def _started(cli: Cli, colibri: str, *words: str, **how: Any) -> subprocess.Popen[bytes]:
    way = [sys.executable, "-I", "-S", str(SHORT_WAY), str(cli.state / "hooks"), "60"]
    line = ["sh", "-c", how.pop("sh", 'exec "$@"'), "sh", *way, colibri, "hook", *words]
    return subprocess.Popen(line, env=cli.environment, stderr=subprocess.PIPE, **how)


def test_a_jail_that_is_called_as_a_form_is_not_asked_for_a_state(acme):
    acme.tenant("oci", API_KEY=VALUE)
    line = ("run", "--jail", "oci", "--root", root(acme, "oci"))
    with acme.serving(), _started(acme, "/nowhere", *line, stdin=subprocess.PIPE) as caller:
        assert caller.wait(timeout=20) == 0  # though nobody closed its stdin


def test_a_closed_stdin_is_the_command_s_own_words(served):
    with _started(served, str(INSTALLED), "oci", sh='exec "$@" <&-') as caller:
        assert b"usage: no OCI state on stdin" in caller.communicate(timeout=30)[1]
        assert caller.returncode == 2


ODD_CALLS = [
    b"", b"\n", b"0 0\n", b"1 1\nab", b"5 0\nab", b"2 0\nabc", b"-1 3\nab", b"a b\n", b"1\n\0",
    b"9 0\n\0\0colibri", b"\xff" * 9, b"12 0\nA=\xff\0\0c\0hook", b"3 0\n\0\0\0", b"1e1 0\n",
    b"\xc2\xb2 0\nab", b"9" * 5000 + b" 0\n", b"x" * (3 << 20),
]  # fmt: skip


def test_what_is_no_call_harms_nobody(served):
    half = connected(served, b"400 0\nCOLIBRI_HO", whole=False)
    for said in ODD_CALLS:
        with connected(served, said) as odd, suppress(ConnectionResetError):
            assert odd.recv(9) in {b"", b"-"}, said
    assert only_served(served).status == 0
    half.close()
    assert only_served(served).status == 0


def test_without_descriptors_it_sends_callers_away_and_sleeps(served_by):
    acme, service = served_by
    _, most = resource.prlimit(service.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (16, most))
    held = [connected(acme, b"400 0\n", whole=False) for _ in range(30)]
    since = time.monotonic()
    assert "cannot start '/nowhere/colibri'" in only_served(acme).stderr
    assert time.monotonic() - since < 3
    before = seconds_worked(service.pid)
    time.sleep(0.5)
    assert seconds_worked(service.pid) - before < 0.2
    for each in held:
        each.close()
    resource.prlimit(service.pid, resource.RLIMIT_NOFILE, (most, most))
    until(lambda: only_served(acme).status == 0)


def test_more_callers_than_it_can_hold_do_it_themselves(served):
    held = [connected(served, b"400 0\n", whole=False) for _ in range(400)]
    until(lambda: "cannot start '/nowhere/colibri'" in only_served(served).stderr)
    for each in held:
        each.close()
    until(lambda: only_served(served).status == 0)


CHANGED = """
import sys
from vault_svc.adapters import door_place
door_place.{what}
sys.argv = ["colibri", "hook", "serve"]
from cli.start import main
main()
"""


@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("peer_uid = lambda _: 12345", 1),
        ("peer_uid = lambda _: __import__('os').geteuid()", 0),
        ("peer_uid = lambda _: __import__('os').close(-1)", 1),
    ],
    ids=["other", "own", "unknown"],
)
def test_a_caller_who_is_somebody_else_is_not_heard(acme, what, status):
    code = CHANGED.format(what=what)
    line = [sys.executable, "-c", code]
    with subprocess.Popen(
        line, env=acme.environment, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as service:
        try:
            assert b"served" in service.stderr.readline()
            assert only_served(acme).status == status
            with pytest.raises(subprocess.TimeoutExpired):
                service.wait(timeout=0.3)
        finally:
            service.terminate()
