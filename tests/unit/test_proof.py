"""The first proof: it holds here, it sees a product that lies, and it leaves nothing behind."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli.proof import checklist, inside, place
from cli.proof.ending import Ending
from cli.proof.outcome import FAILED, NOT_SHOWN, OK, Result
from cli.proof.steps import Story
from cli.proof.world import same_values
from tests.kit import schemas
from tests.kit.cli import INSTALLED
from tests.kit.places import private_directory
from vault_svc.errors import ColibriError

race = pytest.mark.xdist_group("race")
RUN = "import sys; from pathlib import Path; from cli.proof import run;"
RUN += "sys.exit(run(as_json=True, command=Path(sys.argv[1])))"

BELIEVES_NAMES = """
from vault_svc.adapters.delivery import ConfinedDelivery
from vault_svc.domain.receipt import Found, Placed
from vault_svc.errors import ColibriError

def inspect(self, root, path, *, max_bytes):
    return Found("missing")

def place(self, root, path, content, owner, mode=0o600):
    name = os.path.join(root.path, *path)
    try:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK, mode)
        os.write(fd, content)
        os.close(fd)
        os.chmod(name, mode)
        os.chown(name, owner.uid, owner.gid)
    except OSError as error:
        raise ColibriError("path_not_plain", str(error)) from None
    seen = os.stat(name)
    return Placed(seen.st_dev, seen.st_ino, seen.st_mtime_ns, seen.st_size, "missing")

ConfinedDelivery.inspect, ConfinedDelivery.place = inspect, place
"""

SAYS_DONE = """
from vault_svc.adapters.audit.jsonl import JsonlAudit
from vault_svc.adapters.jails.bubblewrap import BubblewrapEngine
from vault_svc.domain.receipt import Found
from vault_svc.ports.audit_log import Verdict
from vault_svc.services import planning, removal, standing, verify

decide = planning.decide
def always(known, found, content, digest, *, recorded):
    return decide(known, Found("missing"), content, digest, recorded=recorded)

planning.decide = always
class Blind:
    look, known_keys, drift = standing.look, standing.known_keys, lambda *_: ()

verify.standing = Blind
removal.Remover._unlink = lambda self, row, path, trail: "file"
JsonlAudit.verify = lambda self: Verdict(1, 1, None)
BubblewrapEngine.unavailable = lambda self: "not here"
if "list-tenants" in sys.argv:
    for file in Path(os.environ["COLIBRI_DAEMON_DATA_DIR"]).glob("jails/proof/root/home/app/.env"):
        sys.stderr.write(file.read_text())
"""


def written(home: Path, name: str, body: str) -> Path:
    """Return a console script that breaks the product and then runs it."""
    script = home / name
    start = f"#!{sys.executable}\nimport os, sys\nfrom pathlib import Path\n"
    script.write_text(f"{start}{body}\nfrom cli.app import main\nsys.exit(main())\n")
    script.chmod(0o700)
    return script


def proof(command: Path, seconds: float = 280) -> tuple[int, dict]:
    ran = subprocess.run(
        [sys.executable, "-c", RUN, str(command)],
        capture_output=True,
        check=False,
        timeout=seconds,
    )
    assert ran.stderr == b""
    receipt = json.loads(ran.stdout)
    assert schemas.complaints(receipt) == []
    assert not Path(receipt["place"]["path"]).exists()
    return ran.returncode, receipt


def states(receipt: dict, state: str) -> set[str]:
    return {step["name"] for step in receipt["steps"] if step["state"] == state}


@race
def test_the_installed_command_holds_every_step():
    status, receipt = proof(INSTALLED)
    shown = [step for step in receipt["steps"] if step["state"] != OK]
    assert status == 0, shown
    assert receipt["ok"]
    names = [step["name"] for step in receipt["steps"]]
    assert names == [*(step.name for step in Story(None).steps()), "clean"]
    allowed = set() if os.geteuid() == 0 else {"nobody-else", "device"}
    assert states(receipt, NOT_SHOWN) <= allowed
    assert receipt["escapes"] == 0
    assert receipt["attempts"] == sum(receipt["histogram"].values()) >= 10
    assert receipt["naive"]["escapes"] >= 5
    assert receipt["kills"] >= 5
    assert receipt["exchanges"] > 1000


@race
def test_a_product_that_believes_names_is_found_out():
    with private_directory() as home:
        status, receipt = proof(written(home, "colibri", BELIEVES_NAMES))
    assert status == 1
    led_out = {"symlink", "dangling", "parent-relative", "parent-absolute", "blind-chain"}
    escaped = {step["name"] for step in receipt["steps"] if "ESCAPE" in step["seen"]}
    assert escaped >= {*led_out, "parent-magic", "hard-link", "race"}
    assert receipt["escapes"] > 0
    assert states(receipt, FAILED) >= {*escaped, "swapped-root", "unchanged", "fifo"}
    assert states(receipt, OK) >= {"init", "provision", "read-inside", "control", "audit"}


def test_a_product_that_only_says_it_is_done_is_found_out():
    with private_directory() as home:
        status, receipt = proof(written(home, "colibri", SAYS_DONE))
    assert status == 1
    assert receipt["engine"] == "directory"
    assert states(receipt, FAILED) >= {
        "list-tenants",
        "unchanged",
        "drift",
        "source-failure",
        "revoke",
        "stays-revoked",
        "audit-edited",
        "audit-cut",
    }
    said = {step["name"]: step["seen"] for step in receipt["steps"]}
    assert said["list-tenants"] == "colibri list-tenants --json printed a secret value"
    assert states(receipt, OK) >= {"provision", "read-inside", "symlink", "kill", "race"}


def test_a_command_that_does_nothing_is_found_out():
    with private_directory() as home:
        script = home / "colibri"
        script.write_text("#!/bin/sh\nexit 0\n")
        script.chmod(0o700)
        status, receipt = proof(script)
    assert status == 1
    assert states(receipt, FAILED) == {"init"}
    assert states(receipt, OK) == {"clean"}


def test_a_command_that_is_not_there_is_one_clear_error():
    from cli.proof import run

    with pytest.raises(ColibriError) as caught:
        run(as_json=True, command=Path("/nonexistent/colibri"))
    assert caught.value.code == "helper_missing"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_leaves_nothing_behind(number):
    with subprocess.Popen([INSTALLED, "first-proof"], stdout=subprocess.PIPE, text=True) as child:
        first = child.stdout.readline()
        where = Path(first.split()[3].rstrip(","))
        assert where.is_dir()
        child.stdout.readline()  # the first step is over, the second under way
        child.send_signal(number)
        child.communicate(timeout=60)
    assert child.returncode == (130 if number == signal.SIGINT else 128 + number)
    assert not where.exists()
    assert not using(where)


def test_a_signal_waits_while_a_child_is_being_started():
    ending, done = Ending(), []
    with ending.polite(), pytest.raises(SystemExit) as caught, ending.held():
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("the block went on")
    assert caught.value.code == 128 + signal.SIGTERM
    assert done


def using(where: Path) -> list[str]:
    """Return processes that still work in a directory."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/cwd").startswith(str(where)):
                found.append(pid)
    return found


def test_places_are_tried_in_order(monkeypatch):
    kinds = [kind for kind, _ in place.candidates({"HOME": "/home/x"})]
    assert kinds == ["runtime directory", "state directory", "home directory"]
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    given = {"HOME": "/home/x", "XDG_RUNTIME_DIR": "/run/of/x"}
    paths = [str(path) for _, path in place.candidates(given)]
    assert paths == ["/run/of/x", "/home/x/.local/state", "/home/x"]
    assert str(place.candidates({"HOME": "/home/x"})[0][1]) == "/run/user/4711"


def test_the_first_safe_place_is_taken_and_removed():
    with private_directory() as home:
        others, link, good = home / "others", home / "link", home / "good"
        for made in (others, good):
            made.mkdir()
        others.chmod(0o1777)
        link.symlink_to(good)
        places = [("a", home / "missing"), ("b", others), ("c", link), ("d", good)]
        with place.scratch(places, Ending()) as found:
            assert (found.kind, found.path.parent) == ("d", good)
            assert found.path.stat().st_mode & 0o777 == 0o700
        assert list(good.iterdir()) == []
        with pytest.raises(RuntimeError), place.scratch(places, Ending()) as found:
            (found.path / "below").mkdir()
            raise RuntimeError
        assert list(good.iterdir()) == []


def test_no_safe_place_says_why_for_each():
    with private_directory() as home:
        (home / "others").mkdir()
        (home / "others").chmod(0o1777)
        (home / "file").write_text("")
        (home / "link").symlink_to("others")
        names = ["missing", "others", "file", "link"]
        places = [("x", home / name) for name in names]
        with pytest.raises(ColibriError) as caught, place.scratch(places, Ending()):
            pass
    assert caught.value.code == "unsafe_base"
    for why in (
        "No such file",
        "by others (1777)",
        "file' is no directory",
        "link' is no directory",
    ):
        assert why in caught.value.message


@pytest.mark.root
def test_a_place_of_somebody_else_is_refused():
    with private_directory() as home:
        (home / "theirs").mkdir()
        os.chown(home / "theirs", 4242, 4242)
        assert place.why_not(home / "theirs") == f"'{home}/theirs' belongs to uid 4242"


def test_only_what_a_dead_proof_left_is_swept():
    with private_directory() as home:
        dead, alive, foreign = (home / name for name in ("colibri-proof-a", "colibri-proof-b", "c"))
        for made in (dead, alive, foreign):
            made.mkdir()
        (home / "colibri-proof-link").symlink_to(foreign)
        lock = os.open(alive, os.O_RDONLY)
        fcntl.flock(lock, fcntl.LOCK_EX)
        with place.scratch([("x", home)], Ending()):
            assert not dead.exists()
            assert alive.exists()
            assert foreign.exists()
            assert (home / "colibri-proof-link").is_symlink()
        os.close(lock)


def test_bytes_are_compared_name_by_name():
    values = {"A": "1", "B": "x=y", "EMPTY": ""}
    good = b"# header\nA=1\nB=x=y\nEMPTY=\n"
    assert same_values(good, values) == ""
    assert "wrong: B" in same_values(good.replace(b"x=y", b"x"), values)
    assert same_values(good.replace(b"# header\n", b""), values)
    assert same_values(good + b"C=3\n", values)
    assert "order" in same_values(b"# h\nB=x=y\nA=1\nEMPTY=\n", values)


def test_the_plain_checklist_escapes_what_a_terminal_would_act_on(capsys):
    shown = checklist.for_stdout(as_json=False)
    shown.show(Result("a", "title", FAILED, "red \x1b[31m", 1234.5))
    assert capsys.readouterr().out == "FAILED      1.23 s  title: red \\x1b[31m\n"


def test_the_terminal_checklist_keeps_its_columns(capsys):
    from io import StringIO

    from rich.console import Console

    out = StringIO()
    terminal = checklist.Terminal(Console(file=out, width=80, force_terminal=False))
    terminal.section("Deliver")
    for state in (OK, FAILED, NOT_SHOWN):
        with terminal.running("a title"):
            pass
        terminal.show(Result("a", "a title", state, "seen [bold] " * 8, 12.0))
    rows = [line for line in out.getvalue().splitlines() if " s" in line[-3:]]
    assert len(rows) == 3
    assert {line.index("seen") for line in rows} == {37}
    assert {len(line) for line in rows} == {80}
    assert "seen [bold]" in rows[0]


def test_titles_fit_their_column():
    for step in Story(None).steps():
        assert len(step.title) <= 33, step.title


def test_json_shows_nothing_but_the_receipt(capsys):
    silent = checklist.for_stdout(as_json=True)
    silent.section("x")
    silent.say("x")
    silent.show(Result("a", "title", OK, "seen", 1.0))
    assert capsys.readouterr() == ("", "")


def test_without_namespaces_the_tenant_says_it_is_not_confined(monkeypatch, tmp_path):
    monkeypatch.setattr(inside, "_own_namespace", lambda: False)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert inside.confine(str(tmp_path), 4711, 4711) == "plain"
