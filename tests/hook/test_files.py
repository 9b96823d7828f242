"""`hook install|uninstall|show`: idempotent, tells what it does, touches nobody else's file."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from tests.hook.containers import SHORT_WAY
from tests.kit.cli import INSTALLED, Cli
from vault_svc.domain import hookfiles
from vault_svc.errors import ColibriError

ENGINES = ("podman", "nspawn", "bastille", "service")
PLAIN = hookfiles.Call("/usr/local/bin/colibri", (), (), {}, 70)


def test_podmans_file_matches_only_containers_with_the_annotation():
    whole = json.loads(hookfiles.hook_file("podman", PLAIN).content)
    assert whole["when"] == {"annotations": {"^colibri\\.jail$": ".*"}}
    assert whole["stages"] == ["createRuntime"]
    assert whole["hook"]["args"] == ["/usr/local/bin/colibri", "hook", "oci"]
    assert whole["hook"]["timeout"] == 70
    assert "env" not in whole["hook"]


def test_nspawns_file_calls_the_hook_before_the_machine():
    odd = hookfiles.Call("/opt/a b/100%/$x/colibri", ("--config", "/a"), (), {"COLIBRI_X": "5%"}, 1)
    lines = hookfiles.hook_file("nspawn", odd).content.splitlines()
    assert lines[1:] == [
        "[Service]",
        'Environment="COLIBRI_X=5%%"',
        'ExecStartPre="/opt/a b/100%%/$$x/colibri" --config /a hook nspawn %i',
    ]


def test_what_goes_before_is_what_an_engine_starts():
    by = hookfiles.Call("/bin/colibri", ("--config", "/a"), (), {}, 70, by=("/bin/python", "-I"))
    hook = json.loads(hookfiles.hook_file("podman", by).content)["hook"]
    assert hook["path"] == "/bin/python"
    assert hook["args"] == ["/bin/python", "-I", "/bin/colibri", "--config", "/a", "hook", "oci"]


def test_the_services_unit_starts_it_by_itself_and_again():
    odd = hookfiles.Call(
        "/opt/a b/colibri", ("--config", "/a"), (), {"COLIBRI_X": "5%"}, 70, ("p",)
    )
    lines = hookfiles.hook_file("service", odd).content.splitlines()
    assert 'Environment="COLIBRI_X=5%%"' in lines
    assert 'ExecStart="/opt/a b/colibri" --config /a hook serve' in lines
    assert {"Restart=always", "TimeoutStopSec=70", "LimitCORE=0"} < set(lines)
    assert lines.index("StartLimitIntervalSec=0") < lines.index("[Service]")  # is never given up


@pytest.mark.parametrize("engine", ["nspawn", "service"])
@pytest.mark.parametrize(
    ("path", "quoted"),
    [
        ("/opt/100%/c", '"/opt/100%%/c"'),
        ("/a\nExecStart=/b", '"/a\\nExecStart=/b"'),
        ("/a\\b", '"/a\\\\b"'),
        ("/opt/a-b_c.d/c", "/opt/a-b_c.d/c"),
    ],
)
def test_systemd_reads_each_word_as_it_was(engine, path, quoted):
    lines = hookfiles.hook_file(engine, hookfiles.Call(path, (), (), {}, 70)).content.splitlines()
    (line,) = [line for line in lines if line.startswith("Exec")]
    assert line.partition("=")[2].startswith(f"{quoted} hook ")


def test_bastilles_file_has_no_command_inside_the_jail():
    content = hookfiles.hook_file("bastille", PLAIN).content
    commands = [line for line in content.splitlines() if not line.startswith("#")]
    assert commands == ["CONFIG set exec.created /usr/local/bin/colibri hook bastille ${JAIL_NAME}"]


@pytest.mark.parametrize("program", ["/a b/colibri", "/a;b", "/$x", "/a'b", '/a"b', "/a|b", ""])
def test_bastilles_file_takes_nothing_that_needs_quotes(program):
    with pytest.raises(ColibriError, match="odd characters"):
        hookfiles.hook_file("bastille", hookfiles.Call(program, (), (), {}, 70))


@pytest.mark.parametrize("engine", ENGINES)
def test_what_we_wrote_is_known_again(engine):
    assert hookfiles.is_ours(hookfiles.hook_file(engine, PLAIN).content)
    assert not hookfiles.is_ours('{"version": "1.0.0", "hook": {"path": "/usr/bin/oci-umount"}}')


@pytest.mark.parametrize("engine", ["runc", "directory", "../podman", ""])
def test_an_engine_without_a_hook_file_is_refused(cli, engine):
    answer = cli.run("hook", "show", engine)
    assert (answer.status, answer.error["code"]) == (2, "usage")


@pytest.fixture
def place(state_dir) -> Path:
    return state_dir / "etc" / "hooks.d"


def tell(cli: Cli, verb: str, place: Path, *options: str, engine: str = "podman"):
    return cli.must("hook", verb, engine, "--directory", str(place), "--json", *options).json


def test_install_and_uninstall_are_idempotent(cli, place):
    file = place / "colibri-hook.json"
    assert tell(cli, "show", place)["before"] == "absent"
    first = tell(cli, "install", place)
    assert (first["before"], first["after"], first["changed"]) == ("absent", "installed", True)
    assert file.read_text() == first["content"]
    assert file.stat().st_mode & 0o777 == 0o644
    again = tell(cli, "install", place)
    assert (again["before"], again["changed"]) == ("installed", False)
    assert tell(cli, "show", place)["after"] == "installed"
    gone = tell(cli, "uninstall", place)
    assert (gone["before"], gone["after"], gone["changed"]) == ("installed", "absent", True)
    assert tell(cli, "uninstall", place)["changed"] is False
    assert list(place.iterdir()) == []


def test_each_change_is_in_the_log_and_nothing_else_is(cli, place):
    for verb in ("install", "install", "uninstall", "uninstall"):
        tell(cli, verb, place)
    events = [line["event"] for line in cli.must("audit", "tail", "--json").json["items"]]
    assert events[-2:] == ["hook_installed", "hook_uninstalled"]


@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_a_dry_run_changes_nothing(cli, place, verb):
    if verb == "uninstall":
        tell(cli, "install", place)
    before = sorted(place.iterdir()) if place.exists() else None
    assert tell(cli, verb, place, "--dry-run")["changed"] is False
    assert (sorted(place.iterdir()) if place.exists() else None) == before
    shown = cli.must("hook", verb, "podman", "--directory", str(place), "--dry-run")
    assert "would be" in shown.stderr


def test_a_file_of_ours_with_other_settings_is_replaced(cli, place):
    tell(cli, "install", place)
    cli.settings["COLIBRI_HOOK_TIMEOUT_SECONDS"] = "5"
    assert tell(cli, "show", place)["after"] == "other"
    assert tell(cli, "install", place)["before"] == "other"
    assert '"timeout": 15' in (place / "colibri-hook.json").read_text()


@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_somebody_elses_file_is_left(cli, place, verb):
    place.mkdir(parents=True)
    file = place / "colibri-hook.json"
    file.write_text("{}")
    file.chmod(0o644)
    answer = cli.run("hook", verb, "podman", "--directory", str(place))
    assert (answer.status, answer.error["code"]) == (2, "usage")
    assert file.read_text() == "{}"
    assert tell(cli, "show", place)["before"] == "foreign"


def test_a_directory_that_others_can_write_is_refused(cli, place):
    place.mkdir(parents=True)
    place.chmod(0o777)
    answer = cli.run("hook", "install", "podman", "--directory", str(place))
    assert (answer.status, answer.error["code"]) == (5, "unsafe_base")
    assert list(place.iterdir()) == []


def test_the_file_calls_this_colibri_with_this_runs_settings(cli, place):
    cli.config.write_text("batch_size = 7\n")
    hook = json.loads(tell(cli, "install", place, "--on-provision-failure=continue")["content"])
    assert hook["hook"]["path"] == sys.executable
    assert hook["hook"]["args"] == [
        *(sys.executable, "-I", "-S", str(SHORT_WAY), str(cli.state / "hooks"), "60"),
        str(INSTALLED),
        *shlex.split(f"--config {cli.config} hook oci --on-provision-failure=continue"),
    ]
    assert f"COLIBRI_DAEMON_DATA_DIR={cli.state}" in hook["hook"]["env"]
    assert not any(each.startswith("COLIBRI_CONFIG") for each in hook["hook"]["env"])


def test_a_database_url_is_not_copied_into_it(cli, place):
    cli.settings["COLIBRI_DB_URL"] = "postgresql://u:hunter2@h/d"
    answer = cli.run("hook", "install", "podman", "--directory", str(place))
    assert answer.status == 2
    assert "hunter2" not in answer.stderr + answer.text
    assert not place.exists()


def test_a_relative_directory_is_refused(cli):
    assert cli.run("hook", "install", "podman", "--directory", "hooks.d").status == 2
