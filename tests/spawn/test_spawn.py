"""`spawn-agent`: the secrets are there, the streams pass, and nothing is left, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.kit.cli import INSTALLED, Cli
from vault_svc.adapters.jails.bubblewrap import BubblewrapEngine

VALUE = "it's a $value, with `odd` signs"
ENGINES = ("directory", "bubblewrap")

pytestmark = pytest.mark.xdist_group("spawn")


@pytest.fixture(params=ENGINES)
def each(cli: Cli, request) -> Cli:
    """A tenant whose jail is not there, by every engine that runs here."""
    why = BubblewrapEngine([]).unavailable() if request.param == "bubblewrap" else None
    if why:
        pytest.skip(f"bubblewrap: {why}")
    return _ephemeral(cli, request.param)


@pytest.fixture
def acme(cli: Cli) -> Cli:
    """A tenant whose jail is not there: each agent has its own."""
    return _ephemeral(cli, "directory")


def _ephemeral(cli: Cli, engine: str) -> Cli:
    cli.must("secret", "set", "acme", "API_KEY", stdin=VALUE.encode())
    register(cli, "--ephemeral", "--profile", "shell", "--engine", engine)
    return cli


def register(cli: Cli, *options: str) -> None:
    cli.must(
        "register-tenant", "acme", "--tier", "scratch", "--env-path", "/home/app/.env", *options
    )


def spawn(cli: Cli, *command: str, options: tuple[str, ...] = ("--ephemeral",), stdin: bytes = b""):
    return cli.process("spawn-agent", "acme", *options, "--", *command, stdin=stdin)


def started(cli: Cli, *command: str) -> subprocess.Popen:
    """Begin an agent that says `up` once it runs."""
    made = subprocess.Popen(
        [str(INSTALLED), "spawn-agent", "acme", "--ephemeral", "--", *command],
        env=cli.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cli.home,
    )
    assert made.stdout is not None
    assert made.stdout.readline() == b"up\n"
    return made


def nothing_left(cli: Cli) -> None:
    assert cli.must("jail", "list", "--json").json["items"] == []
    assert list((cli.state / "spawns").iterdir()) == []
    assert marked(cli) == []
    (row,) = cli.must("list-tenants", "--json").json["items"]
    assert (row["status"], row["jail_root"]) == ("registered", "")
    assert cli.must("verify", "--all", "--json").json["items"][0]["state"] == "ok"


def command_lines(part: bytes = b"") -> list[str]:
    """Return the command lines of this host's processes that have part in them."""
    found = []
    for each in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path("/proc", each, "cmdline").read_bytes()
        except OSError:
            continue
        if part in line and int(each) != os.getpid():
            found.append(line.decode().replace("\0", " "))
    return found


def marked(cli: Cli) -> list[str]:
    return command_lines(os.fsencode(cli.home))


def test_the_agent_finds_its_secrets_and_only_them_in_its_environment(each):
    ran = spawn(each, "/usr/bin/env").must()
    names = {line.partition("=")[0] for line in ran.text.splitlines()}
    assert f"API_KEY={VALUE}\n" in ran.text
    assert names - {"PWD", "OLDPWD", "_", "SHLVL"} == {"API_KEY"}
    nothing_left(each)


def test_streams_and_status_pass_through(acme):
    ran = spawn(acme, "/bin/sh", "-c", "cat; echo err >&2; exit 7", stdin=b"in\0put\n" * 10_000)
    assert (ran.status, ran.stdout, ran.stderr) == (7, b"in\0put\n" * 10_000, "err\n")
    nothing_left(acme)


def test_arguments_arrive_as_they_were(acme):
    words = ["a b", "", "$HOME", "'", '"', "`id`", "-x", "--json", "a\nb"]
    ran = spawn(acme, "/bin/sh", "-c", 'printf "%s\\0" "$@"', "name", *words).must()
    assert ran.stdout.decode().split("\0")[:-1] == words


def test_it_runs_as_the_tenants_user(acme):
    ran = spawn(acme, "/bin/sh", "-c", "id -u; id -g").must()
    own = os.geteuid() or 1000
    assert ran.text.split() == [str(own), str(os.getegid() or 1000)]


@pytest.mark.root  # who reads the environments of processes that hide theirs (decision 23)
def test_the_value_is_in_no_command_line_and_no_log(acme):
    acme.must("secret", "set", "acme", "API_KEY", stdin=b"sk-live-0123456789")
    agent = started(acme, "/bin/sh", "-c", "echo up; sleep 61")
    try:
        assert command_lines(b"echo up; sleep 61")  # the hunter sees
        assert command_lines(b"sk-live") == []
        environ = Path(f"/proc/{agent.pid}/environ").read_bytes()
        assert b"sk-live" not in environ
    finally:
        agent.terminate()
        agent.communicate(timeout=30)
    assert b"sk-live" not in (acme.state / "audit/audit.jsonl").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_agent_and_everything_goes(each, number):
    script = f"trap 'echo bye; exit 9' {int(number)}; echo up; while :; do sleep 0.05; done"
    agent = started(each, "/bin/sh", "-c", script)
    agent.send_signal(number)
    said, err = agent.communicate(timeout=30)
    assert (agent.returncode, said) == (9, b"bye\n"), err
    nothing_left(each)


def test_an_agent_that_a_signal_ends_is_told_as_128_and_more(acme):
    agent = started(acme, "/bin/sh", "-c", "echo up; exec sleep 60")
    agent.terminate()
    agent.communicate(timeout=30)
    assert agent.returncode == 143
    nothing_left(acme)


def test_killed_it_is_swept_by_the_next(each):
    agent = started(each, "/bin/sh", "-c", "echo up; exec sleep 60")
    assert each.must("jail", "list", "--json").json["items"] != []
    agent.kill()
    agent.wait()
    give_up = time.monotonic() + 10
    while marked(each):
        assert time.monotonic() < give_up, marked(each)
        time.sleep(0.05)
    assert len(list((each.state / "spawns").iterdir())) == 1
    spawn(each, "/bin/true").must()
    nothing_left(each)


def test_a_living_agents_jail_is_nobody_elses_to_sweep(acme):
    agent = started(acme, "/bin/sh", "-c", "echo up; cat home/app/.env; exec sleep 60")
    other = spawn(acme, "/bin/true")
    assert other.status == 7
    assert "jail_taken" in other.stderr
    assert acme.must("jail", "list", "--json").json["items"] != []
    agent.terminate()
    agent.communicate(timeout=30)
    nothing_left(acme)


def test_nothing_runs_where_the_delivery_fails(acme):
    (acme.state / "credentials/embedded.age").unlink()
    ran = acme.run("spawn-agent", "acme", "--ephemeral", "--", "/bin/touch", "home/app/ran")
    assert (ran.status, ran.stdout) == (6, b"")
    assert ran.error["code"] == "credential_missing"
    assert acme.must("jail", "list", "--json").json["items"] == []
    assert list((acme.state / "spawns").iterdir()) == []


def test_a_suspended_tenant_runs_nothing(acme):
    acme.must("suspend", "acme")
    ran = spawn(acme, "/bin/echo", "ran")
    assert (ran.status, ran.stdout, ran.error["code"]) == (5, b"", "tenant_suspended")


def test_a_program_that_is_not_there_is_the_shells_127(acme):
    assert spawn(acme, "/nowhere/agent").status == 127
    nothing_left(acme)


def test_a_jail_that_stays_is_made_once_and_used_again(acme):
    spawn(acme, "/bin/sh", "-c", "echo kept >home/app/note", options=()).must()
    assert spawn(acme, "/bin/cat", "home/app/note", options=()).must().text == "kept\n"
    taken = spawn(acme, "/bin/true")
    assert (taken.status, taken.error["code"]) == (7, "jail_taken")
    assert acme.must("jail", "list", "--json").json["items"] != []


def test_all_of_a_run_is_in_the_log(acme):
    spawn(acme, "/bin/sh", "-c", "exit 3", "secret-argument")
    lines = acme.must("audit", "tail", "--json").json["items"]
    assert [line["event"] for line in lines][-9:] == [
        "jail_created",
        "will_deliver",
        "delivered",
        "agent_started",
        "agent_ended",
        "will_destroy_jail",
        "jail_destroyed",
        "will_remove",
        "removed",
    ]
    assert lines[-5]["detail"]["status"] == 3
    assert b"secret-argument" not in (acme.state / "audit/audit.jsonl").read_bytes()


def test_a_resting_tenant_fails_nobodys_run(acme):
    (item,) = acme.must("provision", "--all", "--json").json["items"]
    assert item["result"] == "no_jail"
    refused = acme.run("provision", "acme")
    assert (refused.status, refused.error["code"]) == (7, "jail_not_found")


@pytest.mark.parametrize(
    "expected",
    [("--jail-name", "acm"), ("--engine", "podman"), ("--jail-root", "/nowhere")],
)
def test_what_the_operator_expects_must_be_so(acme, expected):
    ran = spawn(acme, "/bin/echo", "ran", options=("--ephemeral", *expected))
    assert (ran.status, ran.stdout, ran.error["code"]) == (5, b"", "jail_root_mismatch")
    root = f"{acme.state}/jails/acme/root"
    spawn(acme, "/bin/true", options=("--ephemeral", "--jail-name=acme", f"--jail-root={root}"))
    nothing_left(acme)


def test_a_file_no_shell_reads_is_refused(acme):
    acme.must("update-tenant", "acme", "--profile", "systemd")
    ran = spawn(acme, "/bin/echo", "ran")
    assert (ran.status, ran.stdout, ran.error["code"]) == (2, b"", "usage")


def test_a_tenant_without_a_collection_runs_without_secrets(cli):
    register(cli, "--ephemeral", "--no-collection")
    assert spawn(cli, "/bin/echo", "ran").must().text == "ran\n"


def test_a_registered_jail_that_is_gone_is_not_made_anew(cli):
    cli.tenant("acme")
    subprocess.run(["rm", "-r", str(cli.state / "jails/acme")], check=True)
    ran = spawn(cli, "/bin/true", options=())
    assert (ran.status, ran.error["code"]) == (7, "jail_not_found")


def test_an_ephemeral_registration_needs_no_jail_and_takes_none(cli):
    ran = cli.run("register-tenant", "acme", "--ephemeral", "--create-jail", "--no-collection")
    assert (ran.status, ran.error["code"]) == (2, "usage")


def test_what_reads_no_more_does_not_stop_the_agent_from_ending(acme):
    agent = started(acme, "/bin/sh", "-c", "echo up; while echo more; do :; done; exit 5")
    agent.stdout.close()
    assert agent.wait(30) in {5, 128 + signal.SIGPIPE, 1, 2}
    agent.stderr.close()
    nothing_left(acme)


def test_local_runs_in_no_jail_with_no_environment(cli, monkeypatch):
    ran = cli.process("spawn-local", "--", "/bin/sh", "-c", "id -u; env; exit 4")
    assert ran.status == 4
    assert ran.text.splitlines()[0] == str(os.geteuid() or 1000)
    assert "COLIBRI" not in ran.text


def test_a_broken_record_is_not_taken_for_a_jail(acme):
    spawn(acme, "/bin/true").must()
    (acme.state / "spawns/0123456789abcdef.spawn").write_bytes(b"{}")
    (acme.state / "spawns/0123456789abcdef.spawn").chmod(0o600)
    ran = spawn(acme, "/bin/true")
    assert (ran.status, ran.error["code"]) == (5, "tampered")
