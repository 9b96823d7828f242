"""Doctor looks at the memory that secrets stand in: there, safe, of its kind, out of swap."""

from __future__ import annotations

import subprocess

import pytest

from tests.kit.cli import Cli
from tests.spawn.test_memory import acme, elsewhere, memory, rebase
from vault_svc.hazmat import memory_look
from vault_svc.hazmat.memory_look import swap_names

__all__ = ["acme"]
pytestmark = pytest.mark.root

BYTES = 256 * 1024


def told(cli: Cli) -> dict[str, dict[str, str]]:
    items = cli.run("doctor", "--json").json["items"]
    return {item["name"]: item for item in items if item["name"].startswith("memory")}


def mounted(cli: Cli, *options: str, kind: str = "tmpfs") -> None:
    """Put another mount where the jail's memory was."""
    place = str(memory(cli) / "acme")
    subprocess.run(["umount", place], check=True)
    subprocess.run(["mount", "-t", kind, *options, "x", place], check=True)


def test_where_nobody_has_memory_nothing_is_said_of_it(cli):
    assert told(cli) == {}


def test_memory_that_is_as_it_should_be_is_ok(acme):
    found = told(acme)
    assert {name: item["state"] for name, item in found.items()} == {
        "memory base": "ok",
        "memory of acme": "ok",
        "memory and swap": "ok",
    }
    assert found["memory of acme"]["seen"] == f"'{memory(acme)}/acme', {BYTES} bytes"


def test_what_is_not_mounted_any_more_is_named_with_what_mounts_it(acme):
    subprocess.run(["umount", str(memory(acme) / "acme")], check=True)
    found = told(acme)["memory of acme"]
    assert (found["state"], found["hint"]) == ("warn", "colibri provision acme")
    acme.must("suspend", "acme")
    assert told(acme)["memory of acme"]["state"] == "ok"
    acme.must("resume", "acme")
    acme.must("provision", "acme")
    assert told(acme)["memory of acme"]["state"] == "ok"


def test_an_ephemeral_jail_that_is_not_there_needs_no_memory(acme):
    acme.must("secret", "set", "gone", "API_KEY", stdin=b"x")
    line = ("--ephemeral", "--engine=bubblewrap", "--delivery=tmpfs")
    acme.must("register-tenant", "gone", *line)
    subprocess.run(["umount", str(memory(acme) / "gone")], check=True)
    assert told(acme)["memory of gone"]["state"] == "ok"
    acme.must("offboard", "gone")
    assert "memory of gone" not in told(acme)


def test_another_kind_of_mount_is_no_memory(acme):
    mounted(acme, kind="ramfs")
    found = told(acme)["memory of acme"]
    assert (found["state"], found["code"]) == ("fail", "path_missing")
    assert acme.run("doctor").status != 0


def test_another_size_is_told_and_the_hint_mends_it(acme):
    mounted(acme, "-o", "size=64k,mode=0755")
    found = told(acme)["memory of acme"]
    assert (found["state"], f"holds {64 * 1024} bytes" in found["seen"]) == ("warn", True)
    subprocess.run(found["hint"].split(), check=True)
    assert told(acme)["memory of acme"]["state"] == "ok"


def test_a_base_that_others_may_change_fails(acme):
    memory(acme).chmod(0o777)
    found = told(acme)
    for name in ("memory base", "memory of acme"):
        assert (found[name]["state"], found[name]["code"]) == ("fail", "unsafe_base")
    memory(acme).chmod(0o700)


def test_memory_below_another_base_than_the_set_one_is_named(acme):
    rebase(acme)
    found = told(acme)
    assert found["memory of acme"]["state"] == "ok"
    line = found["memory base of acme"]
    assert line["state"] == "warn"
    assert str(memory(acme)) in line["seen"]
    assert str(elsewhere(acme)) in line["seen"]
    assert "colibri update-tenant acme --delivery tmpfs" in line["hint"]
    acme.must("update-tenant", "acme", "--delivery", "tmpfs")
    assert "memory base of acme" not in told(acme)


@pytest.mark.parametrize(
    ("noswap", "swaps", "state", "words"),
    [
        (True, ("/dev/sdb2",), "ok", "keeps this memory out of it"),
        (False, ("/dev/sdb2",), "warn", "(/dev/sdb2), and 1 of 1"),
        (False, (), "ok", "no swap on"),
    ],
)
def test_memory_that_swap_could_get_is_a_warning(acme, monkeypatch, noswap, swaps, state, words):
    monkeypatch.setattr(memory_look, "swaps_in_use", lambda: swaps)
    if not noswap:
        mounted(acme, "-o", f"size={BYTES},mode=0755")
    found = told(acme)["memory and swap"]
    assert (found["state"], words in found["seen"]) == (state, True)


def test_the_kernels_table_of_swaps_is_read():
    table = "Filename\tType\tSize\tUsed\tPriority\n/dev/sdb2 partition 9 0 -2\n/swap file 1 0 -3\n"
    assert swap_names(table) == ("/dev/sdb2", "/swap")
    assert swap_names(table.splitlines()[0]) == ()
    assert isinstance(memory_look.swaps_in_use(), tuple)
