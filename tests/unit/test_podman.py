"""What the engine `podman` does with podman's answers; a script of ours gives them."""

from __future__ import annotations

import json
import os

import pytest

from vault_svc.adapters.jails.podman import Options, PodmanEngine
from vault_svc.adapters.jails.programs import SYSTEM
from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError

OWNER = Owner(1000, 1000) if os.geteuid() == 0 else Owner(os.geteuid(), os.getegid())
ACME = {
    "Id": "ab" * 32,
    "Name": "acme",
    "State": {"Running": True, "Pid": 4242},
    "GraphDriver": {"Name": "overlay", "Data": {"MergedDir": "/graph/overlay/x/merged"}},
    "Rootfs": "",
    "Config": {"Labels": None},
}


@pytest.fixture
def podman(tmp_path):
    """Make an engine whose podman prints an answer, or fails with words; it logs its calls."""

    def made(answer: object = None, words: str = "", image: str = "img") -> PodmanEngine:
        program = tmp_path / "podman"
        said = answer if isinstance(answer, str) else json.dumps(answer)
        (tmp_path / "answer").write_text(said)
        (tmp_path / "words").write_text(words)
        status = 125 if words else 0
        program.write_text(
            f'#!/bin/sh\nprintf "%s\\n" "$*" >> {tmp_path}/calls\n'
            f"cat {tmp_path}/words >&2\ncat {tmp_path}/answer\nexit {status}\n"
        )
        program.chmod(0o755)
        return PodmanEngine(Options(image=image), path=f"{tmp_path}:{SYSTEM}")

    made.calls = lambda: (tmp_path / "calls").read_text().splitlines()
    return made


def code_of(call) -> str:
    with pytest.raises(ColibriError) as caught:
        call()
    return caught.value.code


def test_root_and_pid_are_what_podman_says_of_the_exact_name(podman):
    engine = podman([ACME])
    assert engine.root_of("acme") == "/graph/overlay/x/merged"
    assert engine.pid_of("acme") == 4242


def test_beginning_of_an_id_is_no_name_although_podman_takes_it(podman):
    engine = podman([ACME])
    for call in (engine.root_of, engine.pid_of, engine.start, engine.stop, engine.destroy):
        assert code_of(lambda call=call: call("abab")) == "jail_not_found"
    assert all(line.startswith("container inspect") for line in podman.calls())


@pytest.mark.parametrize("words", ['Error: no such container "acme"', "no such container acme"])
def test_container_that_is_not_there_is_not_found(podman, words):
    assert code_of(lambda: podman([], words).root_of("acme")) == "jail_not_found"


def test_any_other_failure_is_told_in_its_last_words_and_is_no_missing_jail(podman):
    engine = podman("", "one\nError: database is \x1b[31mlocked\n")
    with pytest.raises(ColibriError, match="locked") as caught:
        engine.root_of("acme")
    assert caught.value.code == "engine_failed"
    assert "\x1b" not in caught.value.message


BROKEN = {
    "no-json": "half an [answer",
    "no-list": {"Name": "acme"},
    "no-state": [{"Name": "acme", "Id": "x"}],
    "no-root": [{**ACME, "GraphDriver": {"Data": {}}}],
    "deep": "[" * 100_000,
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_answer_is_a_failure(podman, answer):
    assert code_of(lambda: podman(answer).root_of("acme")) == "engine_failed"


@pytest.mark.parametrize("state", [{"Running": False, "Pid": 0}, {"Running": True, "Pid": 0}])
def test_container_without_a_process_has_no_root(podman, state):
    engine = podman([{**ACME, "State": state}])
    assert engine.pid_of("acme") is None
    assert code_of(lambda: engine.root_of("acme")) == "jail_not_running"
    assert code_of(lambda: engine.run("acme", ["x"], OWNER)) == "jail_not_running"


@pytest.mark.parametrize("labels", [None, {}, {"colibri.jail": "other"}])
def test_container_that_colibri_did_not_make_is_not_removed(podman, labels):
    engine = podman([{**ACME, "Config": {"Labels": labels}}])
    assert code_of(lambda: engine.destroy("acme")) == "jail_taken"
    assert not any(line.startswith("rm") for line in podman.calls())


def test_own_container_is_removed_by_its_id(podman):
    podman([{**ACME, "Config": {"Labels": {"colibri.jail": "acme"}}}]).destroy("acme")
    assert podman.calls()[-1] == f"rm --force --time=0 --volumes {ACME['Id']}"


def test_list_leaves_out_pods_own_and_what_is_no_jail_name(podman):
    listed = [
        {"Names": ["zoo"], "State": "exited"},
        {"Names": ["acme"], "State": "running"},
        {"Names": ["Not_A_Jail"], "State": "running"},
        {"Names": ["infra"], "State": "running", "IsInfra": True},
        {"Names": None, "State": "created"},
    ]
    infos = podman(listed).list()
    assert [(info.name, info.running) for info in infos] == [("acme", True), ("zoo", False)]


def test_without_an_image_no_container_is_made(podman):
    assert code_of(lambda: podman([], image="").create("acme", OWNER)) == "usage"


def test_without_podman_there_are_no_jails(tmp_path):
    engine = PodmanEngine(Options(), path=str(tmp_path))
    assert engine.list() == []
    assert "not installed" in engine.unavailable()
    assert code_of(lambda: engine.root_of("acme")) == "helper_missing"


def test_an_ordinary_users_containers_are_delivered_to_by_the_hook_only(podman, monkeypatch):
    engine = podman([ACME])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert not engine.capabilities.hook_only
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    assert engine.capabilities.hook_only


def test_podman_gets_nothing_of_our_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("PLANTED", "canary")
    (tmp_path / "podman").write_text(f"#!/bin/sh\nenv > {tmp_path}/env\necho '[]'\n")
    (tmp_path / "podman").chmod(0o755)
    PodmanEngine(Options(containers_conf="/c"), path=f"{tmp_path}:{SYSTEM}").list()
    names = {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert names <= {"PATH", "HOME", "CONTAINERS_CONF", "XDG_RUNTIME_DIR", "PWD", "_", "SHLVL"}


def mounted(source: str, destination: str = "/run/colibri") -> dict[str, object]:
    return ACME | {"Mounts": [{"Type": "bind", "Source": source, "Destination": destination}]}


def test_memory_that_a_container_was_made_with_is_found_in_its_mounts(podman, tmp_path):
    root = str(tmp_path / "memory/acme")
    podman([mounted(root)]).refuse_without_memory("acme", root)
    (tmp_path / "link").symlink_to(tmp_path / "memory")
    podman([mounted(str(tmp_path / "link/acme"))]).refuse_without_memory("acme", root)
    assert all(line.startswith("container inspect") for line in podman.calls())


@pytest.mark.parametrize(
    "found",
    [
        ACME,
        ACME | {"Mounts": None},
        mounted("/run/colibri-memory/beta"),
        mounted("/run/colibri-memory/acme", "/run/colibri2"),
        ACME | {"Mounts": [{"Type": "tmpfs", "Destination": "/run/colibri"}]},
    ],
)
def test_a_container_made_without_its_memory_is_shadowed_with_what_to_add(podman, found):
    with pytest.raises(ColibriError) as caught:
        podman([found]).refuse_without_memory("acme", "/run/colibri-memory/acme")
    assert caught.value.code == "shadowed"
    wanted = "--mount=type=bind,source=/run/colibri-memory/acme,destination=/run/colibri"
    assert wanted in caught.value.hint


def test_reason_at_the_end_of_a_long_line_is_told(podman):
    """A runtime puts what went wrong behind all who passed it on; our own hook's words too."""
    reason = "stderr: colibri: tenant_suspended: tenant 'acme' is suspended"
    engine = podman([ACME], words=f"Error: unable to start container {'ab' * 400}: {reason}")
    with pytest.raises(ColibriError) as caught:
        engine.start("acme")
    assert caught.value.code == "engine_failed"
    assert caught.value.message.startswith("podman: Error: unable to start container abab")
    assert caught.value.message.endswith(reason)
    assert len(caught.value.message) < 650
