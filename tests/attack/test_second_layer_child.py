"""D11 where a child writes (Capsicum): the process machinery for real, the kernel by a stand-in.

On FreeBSD the child enters capability mode itself. Elsewhere it does what comes nearest: root's
goes into an empty directory (chroot), so that no path leads anywhere, and every child may write
below its one directory alone (Landlock). Files are reopened as where there is no /proc.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import stat
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.attack.test_second_layer import MISTAKES
from tests.kit.places import private_directory
from vault_svc.adapters.delivery import ConfinedDelivery
from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError
from vault_svc.hazmat import (
    answers,
    capsicum,
    child,
    confine,
    confine_stage,
    confine_walk,
    landlock,
    reopen,
    second_layer,
)
from vault_svc.hazmat.answers import FaultError
from vault_svc.hazmat.confine_error import Reason, Refused
from vault_svc.ports.delivery import JailRoot

OWNER = Owner(os.geteuid(), os.getegid())
ENV = ("home", ".env")
REAL = sys.platform.startswith("freebsd")
NOWHERE = {errno.EACCES, errno.EXDEV, errno.ENOENT, 93, 94}


@pytest.fixture
def place():
    with private_directory() as top:
        for name in ("state", "empty"):
            (top / name).mkdir(mode=0o700)
        (top / "jails/acme/root/home").mkdir(parents=True)
        (top / "outside").write_text("decoy")
        yield top


@pytest.fixture
def within(place, monkeypatch):
    """Act as the layer does, in the jail's root."""
    child_writes(monkeypatch, place / "empty")

    def acted(act, *, seconds: float = 60):
        fd = os.open(place / "jails/acme/root", confine_walk.SEARCH)
        try:
            return child.within(fd, act, capsicum.enter, seconds=seconds)
        finally:
            os.close(fd)

    return acted


@pytest.fixture
def nobody_is_left(monkeypatch):
    """Insist that there were children, and none is ours any more; a worker may have others."""
    made, fork = [], os.fork

    def forked() -> int:
        made.append(fork())
        return made[-1]

    def insist() -> None:
        assert made
        for child_of_ours in made:
            with pytest.raises(ChildProcessError):
                os.waitpid(child_of_ours, os.WNOHANG)

    monkeypatch.setattr(os, "fork", forked)
    return insist


def child_writes(monkeypatch, empty: Path) -> None:
    """Have deliveries write in a child, as FreeBSD's do; empty is a directory without anything."""
    if not REAL:
        if why := landlock.unavailable():
            pytest.skip(f"Landlock: {why}")
        _without_proc(monkeypatch)
        monkeypatch.setattr(capsicum, "enter", _stand_in(empty))
    monkeypatch.setattr(second_layer, "choose", lambda: LAYER)


LAYER = SimpleNamespace(NAME="Capsicum", NEEDS="", unavailable=lambda: None, within=capsicum.within)


def _stand_in(empty: Path):
    def enter(directory: int, answer: int) -> None:
        del answer
        if os.geteuid() == 0:
            os.chroot(empty)
            os.chdir("/")
        landlock._restrict(directory)

    return enter


def _without_proc(monkeypatch) -> None:
    look = reopen._READ | os.O_NOFOLLOW
    monkeypatch.setattr(reopen, "_O_PATH", 0)
    monkeypatch.setattr(confine_walk, "LOOK", look)
    monkeypatch.setattr(confine_stage, "LOOK", look)
    monkeypatch.setattr(confine_stage, "_O_TMPFILE", 0)


def delivery(top: Path) -> ConfinedDelivery:
    return ConfinedDelivery(
        [str(top / "jails")], state_dir=str(top / "state"), walk="portable", second_layer="require"
    )


def root(top: Path) -> JailRoot:
    return JailRoot(str(top / "jails/acme/root"))


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_d11_a_path_based_change_outside_reaches_nothing(place, within, mistake):
    before = sorted(place.iterdir())
    with pytest.raises(OSError) as caught:
        within(lambda: mistake(place))
    assert caught.value.errno in NOWHERE
    assert sorted(place.iterdir()) == before
    assert (place / "outside").read_text() == "decoy"
    mistake(place)  # the control: nothing but the layer was in its way


@pytest.mark.root  # an ordinary user's stand-in has paths still
def test_d11_what_landlock_does_not_govern_is_out_of_reach_too(place, within):
    with pytest.raises(OSError) as caught:
        within(lambda: (place / "outside").chmod(0o640))
    assert caught.value.errno in NOWHERE
    assert (place / "outside").stat().st_mode & 0o777 != 0o640


def test_d11_delivery_and_removal_work_in_the_child(place, within):
    mine, file = delivery(place), place / "jails/acme/root/home/.env"
    placed = mine.place(root(place), ENV, b"A=1\n", OWNER)
    status = file.stat()
    assert (file.read_bytes(), stat.S_IMODE(status.st_mode)) == (b"A=1\n", 0o600)
    assert (placed.displaced, placed.ino) == ("missing", status.st_ino)
    assert mine.place(root(place), ENV, b"A=2\n", OWNER).displaced == "file"
    assert mine.remove(root(place), ENV) == "file"
    values = {"A": b"1", "B": b"2" * 70_000}
    placed = mine.place_files(root(place), ("secrets",), values, OWNER)
    found = {each.name: each.read_bytes() for each in (place / "jails/acme/root/secrets").iterdir()}
    assert found == values
    assert placed.files.keys() == values.keys()
    assert mine.remove_files(root(place), ("secrets",), values) == "files"
    assert [each.name for each in (place / "jails/acme/root").iterdir()] == ["home"]


def test_d11_a_careless_writer_is_stopped_by_the_child_alone(place, within, monkeypatch):
    def careless(*_, **__):
        (place / "outside").write_text("secret")
        raise ColibriError("internal", "it came this far")

    monkeypatch.setattr(confine, "place", careless)
    with pytest.raises(ColibriError) as caught:
        delivery(place).place(root(place), (".env",), b"", OWNER)
    assert caught.value.code in {"read_only", "path_missing"}
    assert (place / "outside").read_text() == "decoy"


def test_the_child_holds_its_directory_and_its_answer_and_nothing_else(within, place):
    secret = os.open(place / "outside", os.O_RDWR)
    try:
        held = within(lambda: [fd for fd in range(256) if _is_open(fd)])
        assert len(held) == 5
        assert held[:3] == [0, 1, 2]
        assert secret not in held
    finally:
        os.close(secret)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    "error",
    [
        Refused(Reason.SYMLINK, "ho\udcffme", target="/etc", detail="d", err=errno.ELOOP),
        Refused(Reason.TAMPERED),
        ColibriError("bad_path", "not a path", hint="write one", tenant="acme"),
        OSError(errno.ENOSPC, "full"),
        PermissionError(errno.EACCES, "no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_back_as_the_same_one(within, error):
    def act():
        raise error

    with pytest.raises(type(error)) as caught:
        within(act)
    assert type(caught.value) is type(error)
    assert caught.value.args == error.args
    assert {k: v for k, v in vars(caught.value).items() if k != "__notes__"} == vars(error)


def test_a_fault_is_told_by_its_class_alone(within):
    def act():
        raise KeyError("sk-live-0123456789")

    with pytest.raises(FaultError, match="KeyError") as caught:
        within(act)
    assert "sk-live" not in str(caught.value)


@pytest.mark.parametrize(
    "answer", [object(), b"bytes", "x" * (answers.MOST_BYTES + 1)], ids=["class", "bytes", "long"]
)
def test_an_answer_that_is_no_data_or_too_long_is_a_fault(within, answer):
    with pytest.raises(FaultError):
        within(lambda: answer)


@pytest.mark.parametrize(
    "said", [b"", b"nonsense", b"[]", b'["made"]', b'["placed", 1]', b'["refused", "x", 1]', b"7"]
)
def test_nonsense_for_an_answer_is_a_fault(said):
    with pytest.raises(FaultError):
        answers.read(said)


def _with_staged(monkeypatch, act) -> None:
    """Do something in the child when the file is whole and has no name yet."""
    real = confine.publish

    def publish(*arguments):
        act()
        return real(*arguments)

    monkeypatch.setattr(confine, "publish", publish)


def test_a_child_killed_in_the_middle_changed_nothing_and_the_next_run_repairs(
    place, within, monkeypatch
):
    mine, home = delivery(place), place / "jails/acme/root/home"
    mine.place(root(place), ENV, b"A=1\n", OWNER)
    with monkeypatch.context() as killed:
        _with_staged(killed, lambda: os.kill(os.getpid(), signal.SIGKILL))
        with pytest.raises(ColibriError) as caught:
            mine.place(root(place), ENV, b"A=2\n", OWNER)
    assert (caught.value.code, caught.value.retryable) == ("busy", True)
    assert (home / ".env").read_bytes() == b"A=1\n"
    assert len(list(home.iterdir())) == 2  # what a crash leaves
    mine.place(root(place), ENV, b"A=2\n", OWNER)
    assert [each.name for each in home.iterdir()] == [".env"]


def test_a_child_that_hangs_is_ended_in_time_and_reaped(within, nobody_is_left):
    begun = time.monotonic()
    with pytest.raises(OSError) as caught:
        within(lambda: time.sleep(60), seconds=0.2)
    assert caught.value.errno == errno.ETIMEDOUT
    assert time.monotonic() - begun < 5
    nobody_is_left()


def test_an_interruption_waits_for_the_child_which_it_does_not_reach(place, within):
    mark = place / "jails/acme/root/home/done"

    def act() -> None:
        home = os.open("home", os.O_RDONLY | os.O_DIRECTORY, dir_fd=_directory())
        time.sleep(0.2)
        os.kill(os.getppid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)  # a terminal sends it to both
        time.sleep(0.2)
        os.mkdir("done", dir_fd=home)

    with pytest.raises(KeyboardInterrupt):
        within(act)
    assert mark.is_dir()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interrupted_at_any_moment_it_neither_hangs_nor_leaves_the_child_behind(
    place, within, nobody_is_left
):
    home, interrupted = place / "jails/acme/root/home", 0

    def act() -> None:
        fd = os.open("home", os.O_RDONLY | os.O_DIRECTORY, dir_fd=_directory())
        os.mkdir(f"begun-{os.getpid()}", dir_fd=fd)
        os.mkdir(f"over-{os.getpid()}", dir_fd=fd)

    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        for _ in range(150):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-6 + random.random() * 4e-3)
                within(act)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    names = [each.name.partition("-")[0] for each in home.iterdir()]
    assert names.count("begun") == names.count("over") > 10
    assert interrupted > 10
    nobody_is_left()


def _directory() -> int:
    return next(fd for fd in range(3, 256) if _is_open(fd) and stat.S_ISDIR(os.fstat(fd).st_mode))


def test_no_child_to_be_had_is_a_lack_and_no_sign_of_an_attack(place, within, monkeypatch):
    def none():
        raise BlockingIOError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(os, "fork", none)
    with pytest.raises(ColibriError) as caught:
        delivery(place).place(root(place), ENV, b"A=1\n", OWNER)
    assert caught.value.code == "busy"


def test_a_child_that_cannot_be_restricted_does_nothing(place, within, monkeypatch):
    mine = delivery(place)

    def refused(*_):
        raise PermissionError(errno.EPERM, "no")

    monkeypatch.setattr(capsicum, "enter", refused)
    with pytest.raises(ColibriError):
        mine.place(root(place), ENV, b"A=1\n", OWNER)
    assert not (place / "jails/acme/root/home/.env").exists()


def test_no_descriptor_and_no_process_is_left_whatever_comes_of_it(place, within, nobody_is_left):
    def fails():
        raise Refused(Reason.TAMPERED)

    def ends():
        os._exit(3)

    before = [fd for fd in range(256) if _is_open(fd)]
    for act in (lambda: None, fails, ends) * 5:
        with contextlib.suppress(Refused, OSError):
            within(act)
    assert [fd for fd in range(256) if _is_open(fd)] == before
    nobody_is_left()


def test_several_threads_have_a_child_each(place, within):
    roots = {name: place / "jails" / name / "root" for name in ("a", "b", "c", "d")}
    for each in roots.values():
        (each / "home").mkdir(parents=True)
    mine, failed = delivery(place), []

    def deliver(name: str) -> None:
        try:
            for _ in range(5):
                mine.place(JailRoot(str(roots[name])), ENV, name.encode(), OWNER)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=deliver, args=[name]) for name in roots]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert {(each / "home/.env").read_text() for each in roots.values()} == set(roots)


def test_a_trial_tells_whether_the_layer_is_one(within):
    def in_a_child(fd, act):
        return child.within(fd, act, capsicum.enter)

    if REAL or os.geteuid() == 0:
        assert capsicum.refused_everything(in_a_child) is None
    assert "reach" in (capsicum.refused_everything(lambda _, act: act()) or "")

    def none(_, act):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    assert "Operation not permitted" in (capsicum.refused_everything(none) or "")


def test_each_system_has_its_layer():
    assert second_layer.choose("linux").NAME == "Landlock"
    assert second_layer.choose("freebsd14").NAME == "Capsicum"
    if not REAL:
        assert "no Capsicum" in (capsicum.unavailable() or "")


def test_rights_are_laid_out_as_the_kernel_reads_them():
    """CAP_READ | CAP_FSTAT and no more of the first word, nothing of the second (capsicum.h)."""
    made = capsicum.rights(0x1, 0x80000)
    assert list(made.words) == [0x0200000000080001, 0x0400000000000000]
    everything = capsicum.rights(*capsicum.TREE).words[0]
    assert everything & ~0x020007FFFFFFFFFF == 0
    for strange in (0x80, 0x2000000, 0x8000000, 0x1000):  # fexecve, mknod, symlink, chflags
        assert not everything & strange
