"""D11: the layer is on. What a mistake in the first would do outside, the kernel refuses."""

from __future__ import annotations

import _thread
import ctypes
import errno
import os
import random
import signal
import stat
import threading
import time
from pathlib import Path

import pytest

from tests.kit.places import private_directory
from vault_svc.adapters.delivery import ConfinedDelivery
from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError
from vault_svc.hazmat import confine, landlock
from vault_svc.hazmat.confine_error import Reason, refusal
from vault_svc.ports.delivery import JailRoot

OWNER = Owner(os.geteuid(), os.getegid())


@pytest.fixture
def place():
    why = landlock.unavailable()
    if why:
        pytest.skip(f"Landlock: {why}")
    with private_directory() as top:
        (top / "state").mkdir(mode=0o700)
        (top / "jails/acme/root/home").mkdir(parents=True)
        (top / "outside").write_text("decoy")
        yield top


def delivery(top: Path, layer: str = "require") -> ConfinedDelivery:
    return ConfinedDelivery([str(top / "jails")], state_dir=str(top / "state"), second_layer=layer)


def root(top: Path) -> JailRoot:
    return JailRoot(str(top / "jails/acme/root"))


def within(top: Path, act):
    fd = os.open(top / "jails/acme/root", os.O_PATH | os.O_DIRECTORY)
    try:
        return landlock.within(fd, act)
    finally:
        os.close(fd)


def test_an_interruption_waits_for_the_thread(place):
    """It works with descriptors that whoever waits closes on the way out."""
    done: list[bool] = []

    def act() -> None:
        time.sleep(0.3)  # a signal that comes before the wait has begun would not end the wait
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        done.append(True)

    with pytest.raises(KeyboardInterrupt):
        within(place, act)
    assert done == [True]


def test_no_thread_to_be_had_is_a_lack_and_no_sign_of_an_attack(place, monkeypatch):
    def none(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", none)
    with pytest.raises(OSError) as caught:
        within(place, lambda: None)
    assert refusal(caught.value, "").reason is Reason.EXHAUSTED


def test_interrupted_at_any_moment_it_neither_hangs_nor_leaves_the_thread_behind(place):
    begun, over, interrupted = [], [], 0

    def act() -> None:
        begun.append(True)
        over.append(True)

    before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        for _ in range(1500):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-6 + random.random() * 4e-4)
                within(place, act)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupted += 1
            assert len(over) == len(begun)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 100
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


MISTAKES = {
    "write": lambda top: (top / "outside").write_text("secret"),
    "truncate": lambda top: os.truncate(top / "outside", 0),
    "make": lambda top: (top / "new").write_text("secret"),
    "mkdir": lambda top: (top / "new").mkdir(),
    "fifo": lambda top: os.mkfifo(top / "new"),
    "symlink": lambda top: (top / "new").symlink_to("/etc"),
    "unlink": lambda top: (top / "outside").unlink(),
    "rename": lambda top: (top / "outside").rename(top / "new"),
    "link in": lambda top: os.link(top / "outside", top / "jails/acme/root/linked"),
    "rename in": lambda top: (top / "outside").rename(top / "jails/acme/root/moved"),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_d11_a_path_based_change_outside_is_eacces(place, mistake):
    before = sorted(place.iterdir())
    with pytest.raises(OSError) as caught:
        within(place, lambda: mistake(place))
    assert caught.value.errno in {errno.EACCES, errno.EXDEV}
    assert sorted(place.iterdir()) == before
    assert (place / "outside").read_text() == "decoy"
    mistake(place)  # the control: nothing but the layer was in its way


def test_d11_delivery_and_removal_work_under_it(place):
    mine = delivery(place)
    placed = mine.place(root(place), ("home", ".env"), b"A=1\n", OWNER)
    file = place / "jails/acme/root/home/.env"
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"A=1\n", 0o600)
    assert placed.displaced == "missing"
    assert mine.place(root(place), ("home", ".env"), b"A=2\n", OWNER).displaced == "file"
    assert mine.remove(root(place), ("home", ".env")) == "file"


@pytest.mark.parametrize(("layer", "escapes"), [("require", False), ("off", True)])
def test_d11_a_careless_writer_is_stopped_by_the_layer_alone(place, monkeypatch, layer, escapes):
    def careless(*_, **__):
        (place / "outside").write_text("secret")
        raise ColibriError("internal", "it came this far")

    monkeypatch.setattr(confine, "place", careless)
    with pytest.raises(ColibriError) as caught:
        delivery(place, layer).place(root(place), (".env",), b"", OWNER)
    assert caught.value.code == ("internal" if escapes else "read_only")
    assert (place / "outside").read_text() == ("secret" if escapes else "decoy")


def test_d11_a_neighbours_jail_is_outside_too(place):
    other = place / "jails/beta/root"
    other.mkdir(parents=True)
    with pytest.raises(PermissionError):
        within(place, lambda: (other / ".env").write_text("theirs"))


def test_it_takes_nothing_from_the_other_threads(place):
    seen = []
    inside, done = threading.Event(), threading.Event()

    def slow():
        inside.set()
        done.wait(10)

    thread = threading.Thread(target=lambda: within(place, slow))
    thread.start()
    inside.wait(10)
    seen.append((place / "outside").write_text("ours"))
    done.set()
    thread.join()
    within(place, lambda: None)
    (place / "outside").write_text("still ours")
    assert seen == [4]


def test_what_it_does_not_govern_is_known(place):
    """Path-based chmod is the descriptor rules' business: test_no_path_calls.py."""
    within(place, lambda: (place / "outside").chmod(0o640))
    assert stat.S_IMODE((place / "outside").stat().st_mode) == 0o640


def _kernel(monkeypatch, number: int, version: int = 7) -> None:
    def call(which: int, *_: object) -> int:
        if which == landlock._CREATE and version and not number:
            return version
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(landlock, "_call", call)


@pytest.mark.parametrize(
    ("number", "version", "words"),
    [
        (errno.ENOSYS, 0, "version 0"),
        (errno.EOPNOTSUPP, 0, "version 0"),
        (0, 2, "version 2"),
        (errno.EPERM, 0, "forbids"),
    ],
)
def test_a_host_without_it_says_so_and_a_required_one_is_refused(
    state_dir, monkeypatch, number, version, words
):
    (state_dir / "jails").mkdir()
    _kernel(monkeypatch, number, version)
    assert words in delivery(state_dir, "auto").no_second_layer
    with pytest.raises(ColibriError) as caught:
        delivery(state_dir, "require")
    assert caught.value.code == "helper_missing"


def test_a_thread_that_cannot_be_restricted_does_nothing(place, monkeypatch):
    mine = delivery(place)
    real = landlock._call

    def call(which: int, *arguments: object) -> int:
        if which == landlock._RESTRICT:
            raise OSError(errno.E2BIG, "too many layers")
        return real(which, *arguments)

    monkeypatch.setattr(landlock, "_call", call)
    with pytest.raises(ColibriError):
        mine.place(root(place), ("home", ".env"), b"A=1\n", OWNER)
    assert not (place / "jails/acme/root/home/.env").exists()


@pytest.mark.parametrize("layer", ["auto", "off"])
def test_doctor_says_whether_it_is_on(cli, layer):
    cli.settings["COLIBRI_SECOND_LAYER"] = layer
    items = cli.run("doctor", "--json").json["items"]
    (state,) = [item["state"] for item in items if item["name"] == "second layer"]
    on = layer == "auto" and landlock.unavailable() is None
    assert state == ("ok" if on else "warn")


def test_structures_have_the_kernels_sizes():
    assert ctypes.sizeof(landlock._PathBeneath) == 12
    assert ctypes.sizeof(landlock._Ruleset) == 8
