"""A crash of the real command with a secret in its memory leaves no core; neighbours can't look.

Each test has its control: the same crash, or the same look, at a process that is not protected.
"""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.canary import hunter, life

pytestmark = [
    pytest.mark.canary,
    pytest.mark.skipif(sys.platform != "linux", reason="/proc and PR_SET_DUMPABLE are Linux's"),
]
CRASHES = [signal.SIGABRT, signal.SIGSEGV, signal.SIGQUIT]
# The same shape of process without colibri: takes all of stdin and waits for its end.
NAIVE = [sys.executable, "-c", "import os\nkept = []\nwhile d := os.read(0, 65536): kept.append(d)"]
PEEK = """
import sys
try:
    maps = open(f"/proc/{sys.argv[1]}/maps").read()
    mem = open(f"/proc/{sys.argv[1]}/mem", "rb", 0)
except PermissionError:
    sys.exit("refused")
print("readable")
"""


def no_capabilities() -> list[str]:
    """Return a prefix that takes root's powers away: what is left is the same uid, no more."""
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if life.root() else []


def sleeping(pid: int) -> bool:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0] == "S"


@contextmanager
def holding(host, value: str, command: list[str], arguments: list[str]):
    """Yield a process that has read value, or has been offered it, and waits for more input."""
    child = subprocess.Popen(
        [*command, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=host.around / "cwd",
        env=host.environ,
        preexec_fn=life.allow_cores,  # noqa: PLW1509 - one system call
    )
    try:
        child.stdin.write(value.encode())
        child.stdin.flush()
        _wait_until_read(child)
        yield child
    finally:
        child.kill()
        child.stdin.close()
        child.wait()


def _wait_until_read(child) -> None:
    """Wait until the pipe is empty and its reader asleep: the value is in its memory."""
    for _ in range(6000):
        assert child.poll() is None, "it ended before it was looked at"
        if _left_in_pipe(child.stdin.fileno()) == 0 and sleeping(child.pid):
            return
        time.sleep(0.01)
    raise AssertionError("the value was never read")


def _left_in_pipe(fd: int) -> int:
    left = ctypes.c_int()
    fionread = 0x541B  # ioctl_fionread(2)
    ctypes.CDLL(None).ioctl(fd, fionread, ctypes.byref(left))
    return left.value


def crash(host, child, number: int) -> tuple[bool, set]:
    """Return whether the kernel says it dumped core, and what is found in files afterwards."""
    os.kill(child.pid, number)
    _, status = os.waitpid(child.pid, 0)
    child.returncode = -number
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == number
    return os.WCOREDUMP(status), hunter.in_tree(host.around, host.marks)


@pytest.mark.parametrize("number", CRASHES)
def test_a_crash_while_a_value_is_read_leaves_no_core(host, number):
    value = host.value("read")
    arguments = ["secret", "set", "acme", "KEY"]
    with holding(host, value, life.COLIBRI, arguments) as child:
        dumped, found = crash(host, child, number)
    assert not dumped
    assert found == set()
    assert list((host.around / "cwd").iterdir()) == []


def test_the_control_dumps_core_and_its_canary_is_found(bare_host):
    """Without our call this host does write cores; if it writes them here, the hunter sees in."""
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        pytest.skip("this account's hard limit for cores is 0")
    value = bare_host.value("read")
    with holding(bare_host, value, NAIVE, []) as child:
        dumped, found = crash(bare_host, child, signal.SIGABRT)
    assert dumped
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if "/" not in pattern and not pattern.startswith("|"):
        assert {name for _, name in found} == {"value read 0"}


def peek(pid: int) -> str:
    done = subprocess.run(
        [*no_capabilities(), sys.executable, "-c", PEEK, str(pid)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return (done.stdout + done.stderr).strip()


@pytest.mark.skipif(
    life.root() and shutil.which("setpriv") is None, reason="needs setpriv (util-linux)"
)
def test_a_neighbour_of_the_same_uid_cannot_read_the_memory(host):
    """Before the value comes: while colibri waits for it, and the naive program beside it."""
    value = host.value("read")
    command = [*no_capabilities(), *NAIVE]
    with holding(host, value, command, []) as child:
        assert peek(child.pid) == "readable"
    command = [*no_capabilities(), *life.COLIBRI]
    with holding(host, value, command, ["secret", "set", "acme", "KEY"]) as child:
        assert peek(child.pid) == "refused"
        assert Path(f"/proc/{child.pid}/environ").stat().st_uid == 0


@pytest.mark.root
def test_a_crash_in_the_middle_of_a_delivery_leaves_no_core(host):
    """Stopped by a foreign lock on the registry, with the rendered file in memory."""
    import sqlite3

    value = host.value("delivered")
    host.colibri("secret", "set", "acme", "KEY", stdin=value)
    host.colibri("register-tenant", "acme", "--create-jail", "--tier", "scratch")
    blocker = sqlite3.connect(host.state / "colibri.sqlite", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        with host.started(
            "provision", "acme", extra={"COLIBRI_DB_BUSY_TIMEOUT_SECONDS": "60"}
        ) as child:
            for _ in range(3000):
                assert child.poll() is None, child.stderr.read()
                if f"KEY={value}".encode() in _memory(child.pid):
                    break
                time.sleep(0.02)
            else:
                raise AssertionError("the value never came into its memory")
            dumped, found = crash(host, child, signal.SIGSEGV)
    finally:
        blocker.close()
    assert not dumped
    assert found == set()
    assert not host.env_file("acme").exists()
    host.colibri("provision", "acme")
    assert f"KEY={value}\n".encode() in host.env_file("acme").read_bytes()
    assert host.found == set()


def _memory(pid: int) -> bytes:
    """Return the anonymous writable memory of pid, as root can see it."""
    taken = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            fields = line.split()
            if fields[1].startswith("rw") and (len(fields) < 6 or fields[5] == "[heap]"):
                start, end = (int(each, 16) for each in fields[0].split("-"))
                try:
                    memory.seek(start)
                    taken.append(memory.read(end - start))
                except OSError:
                    continue
    return b"\n".join(taken)
