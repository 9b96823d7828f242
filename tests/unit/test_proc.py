"""The one subprocess runner: what a child gets, what it may do, and that none outlives it."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError
from vault_svc.hazmat import proc

SH = "/bin/sh"


def sh(script: str, **options) -> proc.Finished:
    return proc.run([SH, "-c", script], **{"timeout_seconds": 20.0, **options})


def python(code: str, **options) -> proc.Finished:
    return proc.run([sys.executable, "-I", "-c", code], **{"timeout_seconds": 30.0, **options})


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as line:
            return line.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def gone(pid: int) -> bool:
    """Killed processes take a moment to leave."""
    give_up = time.monotonic() + 5
    while alive(pid) and time.monotonic() < give_up:
        time.sleep(0.01)
    return not alive(pid)


def test_status_and_both_outputs_come_back():
    ran = sh("echo out; echo err >&2; exit 7")
    assert (ran.status, ran.stdout, ran.stderr, ran.overflow) == (7, b"out\n", b"err\n", False)


def test_a_signal_is_a_negative_status():
    assert sh("kill -TERM $$").status == -signal.SIGTERM


def test_the_environment_is_empty_unless_given(monkeypatch):
    monkeypatch.setenv("PLANTED", "canary")
    assert proc.run(["/usr/bin/env"], timeout_seconds=20).stdout == b""
    assert proc.run(["env"], timeout_seconds=20, env={"A": "1"}).stdout == b"A=1\n"


def test_stdin_is_closed_or_what_was_given():
    assert sh("cat").stdout == b""
    assert sh("cat", stdin=b"").stdout == b""
    assert sh("cat", stdin=b"given").stdout == b"given"
    large = os.urandom(1 << 20)
    assert sh("cat", stdin=large, max_output_bytes=1 << 21).stdout == large


def test_a_child_that_does_not_read_its_stdin_is_no_deadlock():
    assert sh("exit 3", stdin=b"x" * (1 << 20)).status == 3


def test_arguments_are_never_a_shells():
    ran = proc.run(["/bin/echo", "$(id)", ";", "`id`"], timeout_seconds=20)
    assert ran.stdout == b"$(id) ; `id`\n"


def test_no_descriptor_of_ours_is_the_childs(tmp_path):
    held = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(held, True)
    try:
        ran = sh("ls /proc/self/fd | wc -l")
    finally:
        os.close(held)
    assert int(ran.stdout) == 4  # three streams and the listing itself


def test_too_much_output_kills_and_says_so():
    ran = sh("while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxx; done", max_output_bytes=1000)
    assert ran.overflow
    assert len(ran.stdout) == 1000
    assert ran.status == -signal.SIGKILL


def test_both_outputs_share_the_room():
    ran = sh("printf 12345; sleep 0.2; printf 67890 >&2; sleep 60", max_output_bytes=8)
    assert ran.overflow
    assert len(ran.stdout) + len(ran.stderr) == 8


def test_exactly_the_room_is_no_overflow():
    ran = sh("printf 12345678", max_output_bytes=8)
    assert (ran.overflow, ran.stdout) == (False, b"12345678")


def test_a_child_over_its_time_is_killed_and_not_quoted():
    with pytest.raises(ColibriError) as caught:
        proc.run([SH, "-c", "echo canary; sleep 60 # canary"], timeout_seconds=0.3)
    assert caught.value.code == "helper_timeout"
    assert "canary" not in caught.value.line()


# A child, a grandchild whose parent is gone, and one in a process group of its own.
FAMILY = f"""
sleep 61 & echo $!
(sleep 62 & echo $!)
{sys.executable} -I -c 'import os; os.setpgid(0, 0); print(os.getpid(), flush=True)
os.execv("/bin/sh", ["sh", "-c", "sleep 63; :"])' &
"""


@pytest.mark.parametrize("end", ["exit 0", "exit 1", "kill -9 $$", "sleep 60", "yes"])
def test_no_descendant_outlives_the_run(tmp_path, end):
    """Also one in a process group of its own, whatever way the run ends."""
    family = f"exec 3>{tmp_path}/pids; ({FAMILY}) >&3;"
    script = f"{family} while [ $(wc -l < {tmp_path}/pids) -lt 3 ]; do sleep 0.02; done; {end}"
    try:
        sh(script, timeout_seconds=1.5, max_output_bytes=10_000)
    except ColibriError as error:
        assert error.code == "helper_timeout"
    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 3
    assert all(gone(pid) for pid in pids)


def test_a_grandchild_that_keeps_the_pipes_does_not_keep_us():
    ran = sh("sleep 60 & echo started", timeout_seconds=30.0)
    assert (ran.status, ran.stdout) == (0, b"started\n")


def test_an_interrupt_kills_the_child_too(monkeypatch, tmp_path):
    def interrupted(self, give_up, wanted):
        while not (tmp_path / "pid").exists():
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr(proc._Streams, "pump", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sh(f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; sleep 60")
    assert gone(int((tmp_path / "pid").read_text()))


def test_no_descriptor_stays_open_here():
    def count():
        return len(os.listdir("/proc/self/fd"))

    sh("true")
    before = count()
    for _ in range(5):
        sh("true", stdin=b"x")
        with pytest.raises(ColibriError):
            sh("sleep 9", timeout_seconds=0.05)
        with pytest.raises(ColibriError):
            proc.run(["/no/such/program"], timeout_seconds=1)
    assert count() == before


@pytest.mark.parametrize("program", ["/no/such/program", "no-such-program", "/etc/hostname", "/"])
def test_a_program_that_cannot_be_run_is_missing(program):
    with pytest.raises(ColibriError) as caught:
        proc.run([program, "canary"], timeout_seconds=5)
    assert caught.value.code == "helper_missing"
    assert "canary" not in caught.value.line()


def test_a_hostile_program_name_is_printed_harmlessly():
    with pytest.raises(ColibriError) as caught:
        proc.run(["/x/\x1b[31mred\n"], timeout_seconds=5)
    assert "\x1b" not in caught.value.line()
    assert "\n" not in caught.value.line()


def test_a_nul_is_wrong_usage_and_not_quoted():
    with pytest.raises(ColibriError) as caught:
        proc.run([SH, "canary\0"], timeout_seconds=5)
    assert caught.value.code == "usage"
    assert "canary" not in caught.value.line()


def test_the_working_directory_by_path_and_by_descriptor(tmp_path):
    (tmp_path / "mark").touch()
    assert sh("ls", cwd=str(tmp_path)).stdout == b"mark\n"
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert sh("ls", cwd_fd=fd).stdout == b"mark\n"
    finally:
        os.close(fd)


def test_the_working_directory_is_the_descriptors_even_if_its_name_is_gone(tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mark").touch()
    fd = os.open(tmp_path / "here", os.O_RDONLY)
    (tmp_path / "here").rename(tmp_path / "there")
    (tmp_path / "here").symlink_to("/")
    try:
        assert sh("ls", cwd_fd=fd).stdout == b"mark\n"
    finally:
        os.close(fd)


def test_limits_hold_in_the_child_and_not_here(tmp_path):
    limits = proc.Limits(memory_bytes=1 << 30, processes=200, file_bytes=4096, cpu_seconds=5)
    code = "import resource as r; print([r.getrlimit(getattr(r, 'RLIMIT_' + k)) for k in KINDS])"
    code = code.replace("KINDS", "('AS', 'NPROC', 'FSIZE', 'CPU', 'CORE')")
    wanted = [(1 << 30,) * 2, (200, 200), (4096, 4096), (5, 5), (0, 0)]
    assert python(code, limits=limits).stdout.decode().strip() == str(wanted)
    ran = sh("head -c 100000 /dev/zero > big", cwd=str(tmp_path), limits=limits)
    assert ran.status != 0
    assert (tmp_path / "big").stat().st_size == 4096
    (tmp_path / "ours").write_bytes(b"x" * 8192)


def test_memory_over_the_limit_is_refused():
    ran = python("x = bytearray(1 << 30)", limits=proc.Limits(memory_bytes=512 << 20))
    assert ran.status == 1
    assert b"MemoryError" in ran.stderr


@pytest.mark.root
def test_another_owner_has_no_group_of_ours_and_no_way_back():
    before = os.getgroups()
    os.setgroups([0, 4242])
    try:
        ran = sh("grep -E '^(Uid|Gid|Groups):' /proc/self/status", user=Owner(1234, 2345))
    finally:
        os.setgroups(before)
    words = [line.split()[1:] for line in ran.stdout.decode().splitlines()]
    assert words == [["1234"] * 4, ["2345"] * 4, []]


def test_it_has_a_session_of_its_own_without_a_terminal():
    ran = sh("cut -d' ' -f1,5,6,7 /proc/self/stat; echo $$")
    (pid, group, session, terminal), (leader,) = (x.split() for x in ran.stdout.split(b"\n")[:2])
    assert pid != leader
    assert (group, session, terminal) == (leader, leader, b"0")


def test_meanwhile_is_called_while_it_runs():
    started = []
    done = sh("cat; echo out", stdin=b"in ", meanwhile=lambda: started.append(time.monotonic()))
    assert (done.status, done.stdout) == (0, b"in out\n")
    assert len(started) == 1


def test_what_fails_meanwhile_leaves_no_child(tmp_path):
    def fail() -> None:
        give_up = time.monotonic() + 10
        while not (tmp_path / "pid").exists() and time.monotonic() < give_up:
            time.sleep(0.01)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        sh(f"echo $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; sleep 60", meanwhile=fail)
    assert gone(int((tmp_path / "pid").read_text()))
