"""Secrets in the memory of a bubblewrap jail: seen inside, on no disk, gone when they should be."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.kit.cli import Cli
from vault_svc.adapters.jails.bubblewrap import BubblewrapEngine
from vault_svc.adapters.memory import HostMemory
from vault_svc.errors import ColibriError

VALUE = "sk-live-0123456789"


@pytest.fixture
def acme(cli: Cli):
    """A tenant of a bubblewrap jail with memory; nothing is mounted afterwards."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    if BubblewrapEngine([]).unavailable():
        pytest.skip("bubblewrap cannot be used here")
    cli.settings["COLIBRI_MEMORY_BASE"] = str(memory(cli))
    cli.settings["COLIBRI_MEMORY_BYTES"] = str(256 * 1024)
    register(cli, "acme")
    yield cli
    for each in (*memory(cli).glob("*"), *elsewhere(cli).glob("*")):
        subprocess.run(["umount", str(each)], check=False)


def memory(cli: Cli) -> Path:
    return cli.home / "memory"


def elsewhere(cli: Cli) -> Path:
    return cli.home / "elsewhere/memory"


def rebase(cli: Cli) -> None:
    """Change memory_base under the tenants that have memory."""
    elsewhere(cli).parent.mkdir(mode=0o700)
    cli.settings["COLIBRI_MEMORY_BASE"] = str(elsewhere(cli))


def register(cli: Cli, tenant: str, delivery: str = "tmpfs") -> None:
    cli.must("secret", "set", tenant, "API_KEY", stdin=VALUE.encode())
    made = ("--create-jail", "--engine=bubblewrap", f"--delivery={delivery}")
    cli.must("register-tenant", tenant, *made)


def on_disk(cli: Cli) -> bool:
    line = ["grep", "-rqa", VALUE, "--exclude-dir=memory", str(cli.home)]
    return subprocess.run(line, check=False).returncode == 0


def test_an_agent_has_its_secrets_and_no_disk_does(acme):
    ran = acme.process("spawn-agent", "acme", "--", "/bin/sh", "-c", "echo $API_KEY; id -u").must()
    assert ran.text.split() == [VALUE, "1000"]
    assert not on_disk(acme)
    (row,) = acme.must("list-tenants", "--json").json["items"]
    assert row["delivery"] == "tmpfs"
    assert row["mounts"] == [f"{memory(acme)}/acme:/run/colibri"]
    before = (memory(acme) / "acme/.env").stat()
    assert acme.must("provision", "acme", "--json").json["result"] == "unchanged"
    assert (memory(acme) / "acme/.env").stat() == before


def test_one_file_each_is_the_owners_in_memory_too(acme):
    register(acme, "beta", "tmpfs-files")
    line = ("spawn-agent", "beta", "--", "/bin/cat", "/run/colibri/secrets/API_KEY")
    assert acme.process(*line).must().text == VALUE
    acme.must("offboard", "beta")
    assert not (memory(acme) / "beta").exists()


def test_memory_that_went_with_the_host_is_missing_then_there_again(acme):
    acme.must("provision", "acme")
    subprocess.run(["umount", str(memory(acme) / "acme")], check=True)
    assert acme.run("verify", "acme", "--json").json["items"][0]["drift"] == ["missing"]
    assert acme.must("provision", "acme", "--json").json["result"] == "delivered"
    acme.must("verify", "acme")
    subprocess.run(["umount", str(memory(acme) / "acme")], check=True)
    acme.must("revoke", "acme")


def test_what_is_no_memory_gets_nothing(acme, monkeypatch):
    """Unmounted between the mount and the write: a plain directory is left, on a disk."""
    monkeypatch.setattr(HostMemory, "have", lambda *_: None)
    subprocess.run(["umount", str(memory(acme) / "acme")], check=True)
    assert acme.run("provision", "acme").error["code"] == "path_missing"
    assert list((memory(acme) / "acme").iterdir()) == []


def test_a_tenant_that_fills_its_memory_fails_alone(acme):
    register(acme, "beta")
    fill = "cd /run/colibri; cat /dev/zero >.fill"
    acme.must("provision", "acme")
    fill = fill.replace("/run/colibri", str(memory(acme) / "acme"))
    assert subprocess.run(["/bin/sh", "-c", fill], check=False).returncode != 0
    acme.must("secret", "set", "acme", "API_KEY", stdin=b"second" * 2000)
    found = acme.run("provision", "--all", "--json").json["items"]
    told = {each["tenant_id"]: each["error"] and each["error"]["code"] for each in found}
    assert told == {"acme": "no_space", "beta": None}
    assert "'/run/colibri/.env'" in found[0]["error"]["message"]
    assert VALUE in (memory(acme) / "acme/.env").read_text()


def test_from_disk_to_memory_and_back_leaves_nothing_behind(acme):
    acme.must("provision", "acme")
    acme.must("update-tenant", "acme", "--delivery", "file")
    acme.must("provision", "acme")
    assert not (memory(acme) / "acme").exists()
    env = acme.jail_root("acme") / ".env"
    assert VALUE in env.read_text()
    acme.must("update-tenant", "acme", "--delivery", "tmpfs")
    assert not env.exists()
    acme.must("provision", "acme")
    assert not on_disk(acme)


def test_a_tenant_that_moves_leaves_nothing_in_the_memory_of_its_old_jail(acme):
    acme.must("provision", "acme")
    acme.must("jail", "create", "other", "--engine=bubblewrap")
    acme.must("update-tenant", "acme", "--jail", "other")
    told = [line["event"] for line in acme.must("audit", "tail", "--json").json["items"]]
    assert told[-3:] == ["will_remove", "removed", "tenant_updated"]  # not only unmounted
    assert [each.name for each in memory(acme).iterdir()] == ["other"]
    acme.must("provision", "acme")
    assert VALUE in (memory(acme) / "other/.env").read_text()


def test_another_memory_base_does_not_lose_sight_of_what_stands_below_the_old_one(acme):
    acme.must("provision", "acme")
    rebase(acme)
    acme.must("verify", "acme")
    acme.must("secret", "set", "acme", "API_KEY", stdin=b"second")
    assert acme.must("provision", "acme", "--json").json["result"] == "delivered"
    ran = acme.process("spawn-agent", "acme", "--", "/bin/cat", "/run/colibri/.env").must()
    assert "second" in ran.text
    acme.must("revoke", "acme")
    assert list((memory(acme) / "acme").iterdir()) == []
    acme.must("offboard", "acme")
    assert list(memory(acme).iterdir()) == []
    assert not elsewhere(acme).exists()


def test_new_memory_is_made_below_the_new_base(acme):
    acme.must("provision", "acme")
    rebase(acme)
    register(acme, "beta")
    acme.must("provision", "--all")
    assert VALUE in (elsewhere(acme) / "beta/.env").read_text()
    assert VALUE in (memory(acme) / "acme/.env").read_text()
    ran = acme.process("spawn-agent", "beta", "--", "/bin/sh", "-c", "echo $API_KEY")
    assert ran.must().text.split() == [VALUE]


def test_a_tenant_is_moved_below_the_new_base_by_saying_its_delivery_again(acme):
    acme.must("provision", "acme")
    rebase(acme)
    acme.must("update-tenant", "acme", "--delivery", "tmpfs")
    assert list(memory(acme).iterdir()) == []
    told = [line["event"] for line in acme.must("audit", "tail", "--json").json["items"]]
    assert told[-3:] == ["will_remove", "removed", "tenant_updated"]
    acme.must("provision", "acme")
    assert VALUE in (elsewhere(acme) / "acme/.env").read_text()
    done = acme.must("update-tenant", "acme", "--delivery", "tmpfs")
    assert "was like that already" in done.stderr


def test_below_an_old_base_that_others_may_change_nothing_is_called_gone(acme):
    acme.must("provision", "acme")
    rebase(acme)
    memory(acme).chmod(0o777)
    assert acme.run("revoke", "acme").error["code"] == "unsafe_base"
    (row,) = acme.must("list-tenants", "--json").json["items"]
    assert row["status"] == "suspended"
    memory(acme).chmod(0o700)
    acme.must("revoke", "acme")
    assert list((memory(acme) / "acme").iterdir()) == []


def test_a_registration_that_fails_leaves_no_memory(acme):
    acme.must("secret", "set", "beta", "API_KEY", stdin=b"x")
    line = ("register-tenant", "beta", "--engine=bubblewrap", "--delivery=tmpfs")
    assert acme.run(*line).error["code"] == "jail_not_found"
    assert [each.name for each in memory(acme).iterdir()] == ["acme"]


def test_nobody_of_the_hosts_own_reads_it(acme):
    acme.must("provision", "acme")
    line = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "cat"]
    ran = subprocess.run([*line, memory(acme) / "acme/.env"], capture_output=True, check=False)
    assert (ran.returncode != 0, ran.stdout) == (True, b"")


@pytest.mark.parametrize("act", ["revoke", "suspend", "offboard", "provision"])
def test_from_another_host_nothing_of_this_ones_is_touched(acme, act):
    acme.must("provision", "acme")
    before = (memory(acme) / "acme/.env").stat()
    acme.settings["COLIBRI_HOST"] = "h2"
    assert acme.run(act, "acme").error["code"] == "jail_root_mismatch"
    line = ("register-tenant", "beta", "--jail=acme", "--engine=bubblewrap", "--delivery=tmpfs")
    acme.must("secret", "set", "beta", "API_KEY", stdin=b"x")
    assert acme.run(*line).error["code"] == "jail_taken"
    assert (memory(acme) / "acme/.env").stat() == before


def test_a_second_offboard_takes_nothing_from_the_jails_next_tenant(acme):
    acme.must("provision", "acme")
    acme.must("offboard", "acme")
    acme.must("secret", "set", "beta", "API_KEY", stdin=VALUE.encode())
    line = ("register-tenant", "beta", "--jail=acme", "--engine=bubblewrap", "--delivery=tmpfs")
    acme.must(*line)
    acme.must("provision", "beta")
    acme.must("offboard", "acme")
    acme.must("verify", "beta")


def test_no_other_memory_of_the_hosts_is_taken_for_the_jails(acme, monkeypatch):
    """Its base may be on a memory file system, too: what is no mount of its own gets nothing."""
    base = memory(acme)
    subprocess.run(["umount", str(base / "acme")], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "x", str(base)], check=True)
    try:
        (base / "acme").mkdir()
        monkeypatch.setattr(HostMemory, "have", lambda *_: False)
        assert acme.run("provision", "acme").error["code"] == "path_missing"
        assert list((base / "acme").iterdir()) == []
    finally:
        subprocess.run(["umount", str(base)], check=True)


def test_a_top_that_the_jails_root_opened_up_is_no_dead_end(acme):
    acme.must("provision", "acme")
    (memory(acme) / "acme").chmod(0o777)
    acme.must("secret", "set", "acme", "API_KEY", stdin=b"second")
    acme.must("provision", "acme")
    acme.must("revoke", "acme")


def test_an_ephemeral_jails_memory_goes_with_it(acme):
    acme.must("secret", "set", "gone", "API_KEY", stdin=VALUE.encode())
    line = ("--ephemeral", "--engine=bubblewrap", "--delivery=tmpfs")
    acme.must("register-tenant", "gone", *line)
    command = ("spawn-agent", "gone", "--ephemeral", "--", "/bin/cat", "/run/colibri/.env")
    assert VALUE in acme.process(*command).must().text
    assert not (memory(acme) / "gone").exists()


def test_a_destroyed_jails_memory_goes_with_it_wherever_it_was_made(acme):
    acme.must("secret", "set", "gone", "API_KEY", stdin=VALUE.encode())
    line = ("--ephemeral", "--engine=bubblewrap", "--delivery=tmpfs")
    acme.must("register-tenant", "gone", *line)
    acme.must("jail", "create", "gone", "--engine=bubblewrap")
    rebase(acme)
    acme.must("jail", "destroy", "gone")
    assert [each.name for each in memory(acme).iterdir()] == ["acme"]


@pytest.mark.parametrize("path", ["/.env", "/run/colibri", "/run/colibri2/.env", "/run/.env"])
def test_a_path_outside_of_memory_is_refused(acme, path):
    line = ("update-tenant", "acme", "--env-path", path)
    assert acme.run(*line).error["code"] == "bad_path"


@pytest.mark.parametrize(
    ("engine", "why"), [("directory", "no way to mount"), ("bastille", "whether a jail sees")]
)
@pytest.mark.parametrize("delivery", ["tmpfs", "tmpfs-files"])
def test_engines_that_cannot_show_it_say_so(cli, engine, why, delivery):
    cli.must("secret", "set", "acme", "API_KEY", stdin=b"x")
    line = ("register-tenant", "acme", "--create-jail", "--tier=scratch", f"--engine={engine}")
    refused = cli.run(*line, f"--delivery={delivery}").error
    assert (refused["code"], why in refused["message"]) == ("usage", True)
    assert "--delivery file" in refused["hint"]
    assert cli.must("list-tenants", "--json").json["items"] == []


def test_an_ordinary_user_is_told_at_once(cli, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ColibriError) as caught:
        HostMemory(str(memory(cli)), 4096).have("acme")
    assert caught.value.code == "helper_missing"
    assert not memory(cli).exists()
