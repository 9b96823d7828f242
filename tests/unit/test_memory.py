"""`protect_process`, looked at from outside in processes of its own."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys

import pytest

linux = pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
PROTECT = "from vault_svc.hazmat.memory import protect_process; protect_process();"
DUMPABLE = "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True);"


def python(code: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **options,
    )


@linux
def test_the_flag_is_set_and_children_start_clean():
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]]);"
    ran = subprocess.run(
        [sys.executable, "-c", DUMPABLE + PROTECT + DUMPABLE + child, DUMPABLE],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert ran.stdout.split() == ["1", "0", "1"]


@linux
@pytest.mark.parametrize("protected", [False, True])
def test_the_flag_alone_keeps_a_core_from_being_written(tmp_path, protected):
    """The limit is left high on purpose, so that nothing but the flag stands in the way."""
    code = f"""if True:
        import os, resource
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
        resource.setrlimit = lambda *_: None
        {PROTECT if protected else "pass"}
        print("here", flush=True)
        os.chdir({str(tmp_path)!r})
        os.abort()
    """
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        status = os.waitpid(child.pid, 0)[1]
        child.returncode = 0
        assert child.stdout.read() == b"here\n"
    assert os.WTERMSIG(status) == signal.SIGABRT
    if protected:
        assert not os.WCOREDUMP(status)
        assert os.listdir(tmp_path) == []
    elif resource.getrlimit(resource.RLIMIT_CORE)[1] != 0:
        # The control: without the call this host does write cores.
        assert os.WCOREDUMP(status)


def test_the_core_limit_is_zero_and_cannot_be_raised_by_children():
    ran = python(PROTECT + "import resource; print(resource.getrlimit(resource.RLIMIT_CORE))")
    assert ran.stdout.strip() == "(0, 0)"


@linux
@pytest.mark.root
@pytest.mark.parametrize("protected", [False, True])
def test_a_neighbour_of_the_same_uid_cannot_read_its_memory(protected):
    """The hunter is an ordinary neighbour; without the call it can open the memory."""
    code = f"""if True:
        import ctypes, os, sys
        from vault_svc.hazmat.memory import protect_process
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # changing ids has cleared it
        {"protect_process()" if protected else "pass"}
        pid = os.fork()
        if pid == 0:
            try:
                open(f"/proc/{{os.getppid()}}/mem", "rb").close()
                print("readable", flush=True)
            except PermissionError:
                print("refused", flush=True)
            os._exit(0)
        os.waitpid(pid, 0)
    """
    ran = python(code)
    assert ran.stdout.strip() == ("refused" if protected else "readable"), ran.stderr
