"""Tenant locks between threads, objects and processes, in both ways to take them."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vault_svc.adapters.locks import FileLocks, lock_offset
from vault_svc.errors import ColibriError
from vault_svc.hazmat import rangelock

ROOT = Path(__file__).parents[2]
HOLDER = """
import sys
from vault_svc.adapters.locks import FileLocks
from vault_svc.hazmat import rangelock
rangelock._OFD = False if sys.argv[3] == "posix" else rangelock._OFD
locks = FileLocks(sys.argv[1], timeout_seconds=5.0)
locks._locks = rangelock.RangeLocks(sys.argv[1], "busy", ofd=sys.argv[3] == "ofd")
with locks.hold(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
print("given back", flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "provision.lock"


@pytest.fixture(params=["ofd", "posix"])
def way(request: pytest.FixtureRequest) -> str:
    if request.param == "ofd" and not rangelock._OFD:
        pytest.skip("this system has no open-file-description locks")
    return request.param


def made(path: Path, way: str, seconds: float = 0.05) -> FileLocks:
    locks = FileLocks(str(path), timeout_seconds=seconds)
    locks._locks = rangelock.RangeLocks(str(path), "busy", ofd=way == "ofd")
    return locks


def holder(path: Path, tenant: str, way: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), tenant, way],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout.readline() == b"held\n"
    return process


def busy(locks: FileLocks, tenant: str, **named) -> bool:
    try:
        with locks.hold(tenant, **named):
            return False
    except ColibriError as error:
        assert error.code == "busy"
        assert error.retryable
        assert tenant in error.message
        assert error.tenant == tenant
        return True


def test_one_process_at_a_time_per_tenant(path, way):
    locks = made(path, way)
    other = holder(path, "acme", way)
    assert busy(locks, "acme")
    assert busy(locks, "acme", wait=False)
    assert not busy(locks, "other")
    other.communicate()
    assert not busy(locks, "acme")


def test_a_killed_process_gives_its_lock_back(path, way):
    other = holder(path, "acme", way)
    locks = made(path, way)
    assert busy(locks, "acme")
    other.send_signal(signal.SIGKILL)
    other.wait(timeout=20)
    other.communicate()
    assert not busy(locks, "acme")


def test_closing_another_lock_of_the_file_gives_nothing_back(path, way):
    """The trap of POSIX locks: any close of the file would drop all of the process's locks."""
    locks = made(path, way)
    with locks.hold("acme"):
        with locks.hold("other"):
            pass
        assert busy(locks, "acme")
        probe = subprocess.Popen(
            [sys.executable, "-c", HOLDER.replace("5.0", "0.05"), str(path), "acme", way],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        out, errors = probe.communicate(timeout=60)
        assert (out, b"busy" in errors or b"at work" in errors) == (b"", True)
    assert not busy(locks, "acme")


def test_waiting_ends_when_the_other_is_done(path, way):
    other = holder(path, "acme", way)
    locks = made(path, way, seconds=30.0)
    threading.Timer(0.1, other.stdin.close).start()
    with locks.hold("acme"):
        pass
    assert other.wait(timeout=20) == 0
    other.stdout.close()


def test_threads_exclude_each_other(path, way):
    locks = made(path, way, seconds=20.0)
    inside, most, turns = 0, 0, 0

    def work() -> None:
        nonlocal inside, most, turns
        for _ in range(15):
            with locks.hold("acme"):
                inside += 1
                most = max(most, inside)
                turns += 1
                threading.Event().wait(0.0005)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert (most, turns) == (1, 45)


def test_an_error_inside_gives_the_lock_back(path, way):
    locks = made(path, way)

    def fail() -> None:
        with locks.hold("acme"):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not busy(locks, "acme")


def test_many_at_once_and_no_descriptor_is_left(path, way):
    locks = made(path, way)
    names = [f"t{number}" for number in range(64)]

    def count() -> int:
        return len(list(Path("/dev/fd").iterdir()))

    before = count()
    from contextlib import ExitStack

    with ExitStack() as stack:
        for name in names:
            stack.enter_context(locks.hold(name))
        assert (
            all(busy(made(path, "ofd"), name, wait=False) for name in names[:3]) or way == "posix"
        )
    assert count() <= before + (way == "posix")


@pytest.mark.parametrize("umask", [0, 0o777])
def test_the_file_is_ours_alone(path, way, umask):
    old = os.umask(umask)
    try:
        with made(path, way).hold("acme"):
            pass
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_size == 0


def test_a_symlink_in_its_place_is_refused(path, tmp_path, way):
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ColibriError) as caught, made(path, way).hold("acme"):
        pass
    assert caught.value.code == "busy"
    assert not (tmp_path / "elsewhere").exists()


def test_without_its_directory_it_says_so(tmp_path, way):
    with pytest.raises(ColibriError) as caught, made(tmp_path / "no" / "lock", way).hold("acme"):
        pass
    assert caught.value.code == "read_only"
    assert "initialised" in caught.value.hint


def test_offsets_are_stable_apart_and_fit():
    names = [f"t{number}" for number in range(2000)]
    offsets = {lock_offset(name) for name in names}
    assert len(offsets) == len(names)
    assert all(0 <= offset < 2**62 for offset in offsets)
    # Two versions of colibri on one host must agree on it.
    assert lock_offset("acme") == 0x208ACCEB61F05228
