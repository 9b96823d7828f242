"""Programs that run beside us, descriptors they may have, and signals that wait for their end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from vault_svc.errors import ColibriError
from vault_svc.hazmat import ending, proc

ECHO = """
import socket, sys
pair = socket.socket(fileno=int(sys.argv[1]))
sys.stderr.write("hello")
sys.stderr.flush()
while data := pair.recv(100):
    if data == b"die":
        raise SystemExit(3)
    if data != b"wait":
        pair.send(data[::-1])
"""


def soon(seconds: float = 20) -> float:
    return time.monotonic() + seconds


def beside(theirs: socket.socket, program: str = ECHO, **more):
    argv = [sys.executable, "-I", "-c", program, str(theirs.fileno())]
    return proc.background(argv, env={}, pass_fds=[theirs.fileno()], **more)


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_it_answers_over_the_descriptor_it_was_given_and_its_words_are_kept(pair):
    ours, theirs = pair
    with beside(theirs) as child:
        theirs.close()
        ours.sendall(b"abc")
        assert child.wait_readable(ours.fileno(), soon())
        assert ours.recv(100) == b"cba"
        assert child.stderr == b"hello"


def test_its_end_is_noticed_at_once(pair):
    ours, theirs = pair
    started = time.monotonic()
    with beside(theirs) as child:
        ours.sendall(b"die")
        assert not child.wait_readable(ours.fileno(), soon())
    assert time.monotonic() - started < 15


def test_a_wait_has_an_end(pair):
    ours, theirs = pair
    with beside(theirs) as child, pytest.raises(ColibriError) as caught:
        ours.sendall(b"wait")
        child.wait_readable(ours.fileno(), soon(0.3))
    assert caught.value.code == "helper_timeout"


def test_a_flood_is_not_kept(pair):
    ours, theirs = pair
    flood = "import os\nwhile True: os.write(2, b'x' * 65536)"
    with beside(theirs, flood, max_output_bytes=100_000) as child:
        with pytest.raises(ColibriError) as caught:
            child.wait_readable(ours.fileno(), soon())
        assert caught.value.code == "source_incomplete"
        assert len(child.stderr) <= 100_000


def test_it_is_killed_with_all_it_started(pair):
    _, theirs = pair
    program = "import os, time\nif not os.fork(): os.setpgid(0, 0)\ntime.sleep(600)"
    with beside(theirs, program) as child:
        leader = child._child.pid
        time.sleep(0.5)
        assert len(proc._session_members(leader)) == 2
    assert proc._session_members(leader) == []


def test_only_named_descriptors_are_inherited():
    ours, theirs = os.pipe()
    other, _ = os.pipe()
    os.set_inheritable(other, True)
    program = "import os; print(sorted(int(fd) for fd in os.listdir('/proc/self/fd')))"
    done = proc.run(
        [sys.executable, "-I", "-c", program], timeout_seconds=20, env={}, pass_fds=[ours]
    )
    found = eval(done.stdout)
    assert ours in found
    assert {theirs, other}.isdisjoint(found)


# Signals


HELD = """
import sys, time
from vault_svc.hazmat import ending
sys.stdout.write("ready\\n"); sys.stdout.flush()
try:
    with ending.held_back():
        try:
            for _ in range(200):
                {check}
                time.sleep(0.05)
        finally:
            sys.stdout.write("cleaned\\n"); sys.stdout.flush()
except KeyboardInterrupt:
    sys.stdout.write("interrupted\\n"); sys.exit(130)
sys.stdout.write("went on\\n")
"""


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [
        (signal.SIGTERM, -signal.SIGTERM, "cleaned\n"),
        (signal.SIGHUP, -signal.SIGHUP, "cleaned\n"),
        (signal.SIGINT, 130, "cleaned\ninterrupted\n"),
    ],
)
def test_a_signal_acts_as_before_but_after_the_cleaning(number, status, said):
    process = subprocess.Popen(
        [sys.executable, "-c", HELD.format(check="ending.check()")],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (status, said)


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ending.held_back():
            signal.raise_signal(signal.SIGHUP)
            ending.check()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handlers_are_put_back():
    met = []
    before = signal.signal(signal.SIGTERM, lambda *_: met.append("mine"))
    try:
        with pytest.raises(ending.EndedError), ending.held_back():
            signal.raise_signal(signal.SIGTERM)
            assert met == []
            ending.check()
        assert met == ["mine"]
        signal.raise_signal(signal.SIGTERM)
        assert met == ["mine", "mine"]
    finally:
        signal.signal(signal.SIGTERM, before)
