"""`colibri hook serve`: a hook that finds it is answered as if it had delivered by itself."""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from cli import hook_call, hook_serving
from cli.invocation import Session
from tests.hook.containers import SHORT_WAY
from tests.hook.serving import NOBODY, VALUE, adopt, call, env_file, events, plain, root
from tests.kit.cli import Cli, Result
from tests.kit.places import private_directory
from vault_svc.adapters import door, door_call, door_place
from vault_svc.wiring import Services

ROOT_OF_OTHERS = "/var/lib/nowhere"


def test_it_delivers_and_the_caller_has_its_words(served, monkeypatch):
    first = call(served, *plain(served, "--json")).must().json
    assert (first["result"], first["receipt"]["generation"]) == ("delivered", 1)
    assert VALUE in env_file(served).read_text()
    assert events(served)[-2:] == ["will_deliver", "delivered"]
    before = env_file(served).stat()
    assert call(served, *plain(served)).must().stderr.endswith("'acme' unchanged\n")
    after = env_file(served).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_nothing_but_the_answer_comes_from_the_caller_itself(served):
    """Its own colibri cannot be started, and is not missed."""
    way = [sys.executable, "-I", "-S", str(SHORT_WAY), str(served.state / "hooks"), "60"]
    line = [*way, "/nowhere/colibri", "hook", *plain(served)]
    done = subprocess.run(line, env=served.environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"delivered, generation 1" in done.stderr


def _state(cli: Cli, **changes: object) -> bytes:
    bundle = cli.home / "bundle"
    bundle.mkdir(exist_ok=True)
    annotations = {"annotations": {"colibri.jail": "acme"}}
    config = {"root": {"path": root(cli)}, **annotations}
    (bundle / "config.json").write_text(json.dumps(config))
    state = {"ociVersion": "1.0.2", "id": "c1", "status": "creating", "pid": os.getpid()}
    return json.dumps({**state, "bundle": str(bundle), **annotations, **changes}).encode()


CASES = {
    "plain": lambda cli: (plain(cli), b""),
    "document": lambda cli: (plain(cli, "--json"), b""),
    "no tenant": lambda cli: (plain(cli, jail="nobody"), b""),
    "no name": lambda cli: (plain(cli, "--json", jail="../x"), b""),
    "another root": lambda _: (("run", "--jail", "acme", "--root", ROOT_OF_OTHERS), b""),
    "nspawn": lambda _: (("nspawn", "nobody"), b""),
    "nspawn root": lambda cli: (("nspawn", "acme", "--root", root(cli)), b""),
    "bastille": lambda _: (("bastille", "acme"), b""),
    "container": lambda cli: (("oci",), _state(cli)),
    "container document": lambda cli: (("oci", "--json"), _state(cli)),
    "container of nobody": lambda cli: (("oci",), _state(cli, annotations={})),
    "no state": lambda _: (("oci",), b"{"),
    "no stdin": lambda _: (("oci", "--json"), b""),
    "too long a state": lambda _: (("oci",), b" " * (hook_call.MOST + 5)),
    "help": lambda _: (("run", "--help"), b""),
    "usage": lambda _: (("run", "--jail", "acme"), b""),
    "on failure": lambda _: (
        ("run", "--jail=acme", f"--root={ROOT_OF_OTHERS}", "--on-provision-failure=continue"), b""
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def both() -> Iterator[dict[str, tuple[Result, Result, Result]]]:
    """Every case's answer: by the command alone, beside the service, and by that alone."""
    with private_directory() as home:
        acme = Cli(home).ready()
        acme.tenant("acme", API_KEY=VALUE)
        acme.must("provision", "acme")
        lines = {name: made(acme) for name, made in CASES.items()}
        alone = {name: call(acme, *line, stdin=said) for name, (line, said) in lines.items()}
        with acme.serving():
            served = {name: call(acme, *line, stdin=said) for name, (line, said) in lines.items()}
            only = {
                name: call(acme, *line, stdin=said, colibri=NOBODY)
                for name, (line, said) in lines.items()
            }
        yield {name: (alone[name], served[name], only[name]) for name in CASES}


@pytest.mark.parametrize("case", CASES)
def test_it_answers_byte_for_byte_what_the_command_itself_answers(both, case):
    alone, served, only = both[case]
    assert served == alone
    assert (only == alone) is (case not in {"help", "usage"})
    assert alone.stderr or alone.stdout


def test_a_start_regardless_is_in_the_log_once(served):
    served.must("suspend", "acme")
    words = plain(served, "--on-provision-failure=continue", "--json")
    answer = call(served, *words, colibri=NOBODY).must()
    assert answer.json["error"]["code"] == "tenant_suspended"
    assert "colibri: tenant_suspended: " in answer.stderr
    assert events(served).count("started_regardless") == 1


def test_what_comes_together_each_gets_its_own(cli):
    names = [f"t{number}" for number in range(12)]
    for name in names:
        cli.tenant(name, API_KEY=f"{VALUE}-{name}")
    with cli.serving():
        way = [sys.executable, "-I", "-S", str(SHORT_WAY), str(cli.state / "hooks"), "60"]
        calls = [
            subprocess.Popen(
                [*way, NOBODY, "hook", "run", "--jail", name, "--root", root(cli, name)],
                env=cli.environment, stderr=subprocess.PIPE,
            )
            for name in names
        ]  # fmt: skip
        said = {
            name: each.communicate(timeout=60)[1].decode()
            for name, each in zip(names, calls, strict=True)
        }
    assert {each.returncode for each in calls} == {0}
    for name in names:
        assert f"tenant '{name}' delivered, generation 1" in said[name]
        assert f"{VALUE}-{name}" in Path(root(cli, name), "home/app/.env").read_text()


@pytest.mark.parametrize("by", ["COLIBRI_CONFIG", "COLIBRI_DB_PATH"])
def test_whoever_has_other_settings_does_it_himself(served, by):
    """Shown by a registry that is not there: the service, with its own, would not miss it."""
    nowhere, other = f"{served.home}/nowhere.db", served.home / "other.toml"
    other.write_text(f'db_path = "{nowhere}"\n')
    answer = call(served, *plain(served), **{by: str(other) if "CONFIG" in by else nowhere})
    assert (answer.status, answer.error["code"]) == (2, "usage")
    assert not env_file(served).exists()


class Said:
    """A call as the door reads it."""

    def __init__(self, *circumstances: str, words: tuple[str, ...] = ("hook", "oci")) -> None:
        self.environment = dict(each.split("=", 1) for each in circumstances)
        self.words = ("colibri", *words)
        self.stdin = b""


def test_who_sees_other_file_systems_or_code_does_it_himself(acme, monkeypatch):
    adopt(monkeypatch, acme)
    own = [f"{name}={value}" for name, value in acme.environment.items() if "COLIBRI" in name]
    here = hook_call.surroundings()
    assert [each.split("=")[0] for each in here] == ["@code", "@root", "@mnt", "@user", "@pid"]
    fits = _fits(monkeypatch)
    assert fits(Said(*own, *here))
    assert not fits(Said(*own, *here, words=("hook", "oci", "--help")))
    assert not fits(Said(*own, *here, words=("--config", "/other", "hook", "oci")))
    assert not fits(Said(*own, *here, "COLIBRI_BATCH_SIZE=2"))
    for odd in here:
        assert not fits(Said(*own, *(each for each in here if each != odd), f"{odd}1")), odd
        assert not fits(Said(*own, *(each for each in here if each != odd))), odd


def test_a_settings_file_named_from_where_somebody_stands_is_his_own(acme, monkeypatch):
    adopt(monkeypatch, acme)
    monkeypatch.chdir(acme.home)
    monkeypatch.setenv("COLIBRI_CONFIG", acme.config.name)
    own = [f"{name}={os.environ[name]}" for name in os.environ if name.startswith("COLIBRI_")]
    assert not _fits(monkeypatch)(Said(*own, *hook_call.surroundings()))
    monkeypatch.setenv("COLIBRI_CONFIG", "")
    others = [each for each in own if not each.startswith("COLIBRI_CONFIG=")]
    assert _fits(monkeypatch)(Said(*others, *hook_call.surroundings()))


def _fits(monkeypatch: pytest.MonkeyPatch) -> Callable[[Said], bool]:
    """Return what `hook serve` asks of a call."""
    asked: list[Callable[[Said], bool]] = []
    door = SimpleNamespace(serve=lambda fits, _handle: asked.append(fits))
    monkeypatch.setattr(Services, "hook_door", lambda *_: door)
    hook_serving.serve(Session(None))
    return asked[0]


def test_settings_are_read_anew_for_each_delivery(served):
    served.config.write_text("max_env_bytes = 5\n")
    answer = call(served, *plain(served), colibri=NOBODY)
    assert answer.error["code"] == "secret_value_unrepresentable"
    served.config.write_text("batch_size = many\n")
    assert call(served, *plain(served), colibri=NOBODY).error["code"] == "usage"
    served.config.write_text("")
    assert call(served, *plain(served), colibri=NOBODY).must()


def seen_by_doctor(cli: Cli) -> str | None:
    checks = cli.process("doctor", "--json").json["items"]
    return next((each["state"] for each in checks if each["name"] == "hook service"), None)


def test_doctor_says_whether_hooks_are_served(acme):
    assert seen_by_doctor(acme) is None
    before = events(acme)
    with acme.serving() as service:
        assert seen_by_doctor(acme) == "ok"
        acme.settings["COLIBRI_BATCH_SIZE"] = "2"
        assert seen_by_doctor(acme) == "warn"
        del acme.settings["COLIBRI_BATCH_SIZE"]
        service.kill()
        service.wait()
    assert seen_by_doctor(acme) == "warn"
    assert events(acme) == before


def test_a_second_one_is_refused_and_the_first_stays(served):
    second = served.process("hook", "serve")
    assert (second.status, second.error["code"]) == (10, "busy")
    assert call(served, *plain(served)).must().stderr.endswith("generation 1\n")


@pytest.mark.parametrize("what", ["opened_and_owned", "_bind"])
@pytest.mark.parametrize(("number", "code"), [("ENOSPC", "no_space"), ("EIO", "busy")])
def test_where_it_cannot_listen_the_reason_has_a_code(acme, monkeypatch, what, number, code):
    def fail(*_: object) -> None:
        raise OSError(getattr(errno, number), "of the disk")

    monkeypatch.setattr(door_place, what, fail)
    assert acme.run("hook", "serve").error["code"] == code


def test_a_call_counts_as_answered_before_its_caller_can_have_gone_on():
    ours, callers = socket.socketpair()
    callers.setblocking(False)
    call = door_call.Call(ours, b"", b"", 0.0)
    heard: list[bool] = []
    call.tell = lambda: heard.append(not select.select([callers], [], [], 0)[0])
    call.answer(0, b"", b"said")
    assert (heard, callers.recv(99)) == ([True], b"0 0 4\nsaid")
    ours.close()
    callers.close()


def test_what_is_late_is_answered_while_its_caller_still_waits():
    assert door._LATE_SECONDS + door_call._SEND_SECONDS <= hook_call._GRACE
