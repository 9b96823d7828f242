"""A tenant whose jail, collection, source or host is not what it was can still be taken away.

Each of these left an operator with a secret in a jail and no command that would remove it, or
took a file away for a command that was then refused.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.kit.cli import Cli
from vault_svc.adapters.delivery import ConfinedDelivery
from vault_svc.adapters.jails.directory import DirectoryEngine
from vault_svc.adapters.locks import FileLocks
from vault_svc.adapters.registry.lazy import LazyRegistry
from vault_svc.adapters.sources.embedded import EmbeddedSource
from vault_svc.adapters.spawns import FileSpawnRecords
from vault_svc.errors import ColibriError
from vault_svc.ports.spawning import Passing

AWAY = ColibriError("source_unreachable", "the source is away")


@pytest.fixture
def acme(cli: Cli) -> Cli:
    cli.tenant("acme")
    cli.must("provision", "acme")
    return cli


def row(cli: Cli, tenant: str = "acme") -> Any:
    return cli.must("show-tenant", tenant, "--json").json["tenant"]


def code(cli: Cli, *argv: str) -> str:
    return cli.run(*argv, "--json").json["error"]["code"]


def delivered(cli: Cli) -> Path:
    return cli.jail_root("acme") / "home/app/.env"


def made_anew(cli: Cli) -> Path:
    """Restore the jail from a copy of itself, as from a backup: the same path, another inode."""
    root, old = cli.jail_root("acme"), cli.home / "old"
    root.rename(old)
    shutil.copytree(old, root)
    return root


@pytest.mark.parametrize("options", [(), ("--env-path", "/home/app/other.env")])
def test_a_jail_made_anew_is_recorded_and_its_copy_of_the_file_removed(
    acme: Cli, options: tuple[str, ...]
) -> None:
    root = made_anew(acme)
    assert code(acme, "revoke", "acme") == "jail_root_mismatch"
    acme.must("update-tenant", "acme", "--jail", "acme", *options)
    assert not (root / "home/app/.env").exists()
    assert row(acme)["status"] == "suspended"
    assert acme.must("revoke", "acme").status == 0
    acme.must("offboard", "acme")
    acme.must("jail", "destroy", "acme")


def test_a_file_that_is_not_seen_from_here_is_not_taken_for_gone(acme: Cli) -> None:
    """Under another base the engine does not know the jail: that proves nothing."""
    (acme.home / "elsewhere").mkdir(mode=0o700)
    acme.settings["COLIBRI_JAIL_ROOT_BASE"] = str(acme.home / "elsewhere")
    assert code(acme, "update-tenant", "acme", "--ephemeral") == "jail_root_not_allowed"
    del acme.settings["COLIBRI_JAIL_ROOT_BASE"]
    assert delivered(acme).exists()
    acme.must("update-tenant", "acme", "--ephemeral")
    assert not delivered(acme).exists()
    acme.must("jail", "destroy", "acme")


def test_a_jail_that_somebody_is_at_work_on_is_not_destroyed(acme: Cli) -> None:
    acme.must("update-tenant", "acme", "--ephemeral")
    acme.settings["COLIBRI_LOCK_TIMEOUT_SECONDS"] = "1"
    locks = FileLocks(str(acme.state / "provision.lock"), timeout_seconds=1)
    with locks.hold("acme"):
        assert acme.process("jail", "destroy", "acme").error["code"] == "busy"
    records = FileSpawnRecords(str(acme.state / "spawns"), lock_timeout_seconds=1)
    with records.add(Passing("acme", "directory", "acme")) as held:
        assert code(acme, "jail", "destroy", "acme") == "jail_taken"
        held.done()
    acme.must("jail", "destroy", "acme")


def test_a_destruction_that_is_refused_has_its_end_in_the_log(acme: Cli, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise ColibriError("crosses_mount", "something is mounted there", hint="umount it")

    acme.must("update-tenant", "acme", "--ephemeral")
    with monkeypatch.context() as patch:
        patch.setattr(DirectoryEngine, "destroy", refuse)
        assert code(acme, "jail", "destroy", "acme") == "crosses_mount"
    acme.must("jail", "destroy", "acme")
    told = acme.must("audit", "tail", "--json").json["items"][-4:]
    assert [line["event"] for line in told] == [
        "will_destroy_jail", "jail_not_destroyed", "will_destroy_jail", "jail_destroyed",
    ]  # fmt: skip
    assert told[1]["detail"]["code"] == "crosses_mount"


@pytest.mark.skipif(sys.platform != "linux", reason="leases are Linux's")
def test_the_owners_lease_on_the_file_keeps_no_rotation_out(acme: Cli) -> None:
    """fcntl(2): an open that would break a lease answers EAGAIN to who does not wait."""
    holder = (
        "import fcntl, os, signal, sys, time\n"
        "signal.signal(signal.SIGIO, signal.SIG_IGN)\n"
        "fd = os.open(sys.argv[1], os.O_RDONLY)\n"
        "fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n"
        "print('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    acme.must("secret", "set", "acme", "API_KEY", stdin=b"rotated")
    with subprocess.Popen(
        [sys.executable, "-c", holder, str(delivered(acme))], stdout=subprocess.PIPE
    ) as held:
        assert held.stdout
        if held.stdout.readline() != b"held\n":
            pytest.skip("this file system knows no leases")
        try:
            assert "bytes" in acme.run("verify", "acme").text
            acme.must("provision", "acme")
        finally:
            held.kill()
    assert "API_KEY=rotated" in delivered(acme).read_text()
    acme.must("verify", "acme")


def test_a_jail_without_its_root_is_no_dead_end(acme: Cli) -> None:
    root = acme.jail_root("acme")
    shutil.rmtree(root)
    refused = acme.run("offboard", "acme", "--json").json["error"]
    assert refused["code"] == "jail_root_not_plain"
    assert "destroy" not in refused["hint"]  # that is refused: the jail has a tenant
    root.mkdir()
    acme.must("update-tenant", "acme", "--jail", "acme")
    acme.must("offboard", "acme")
    acme.must("jail", "destroy", "acme")


def test_a_moved_base_takes_the_file_with_it(acme: Cli) -> None:
    moved = acme.home / "moved"
    (acme.state / "jails").rename(moved)
    acme.settings["COLIBRI_JAIL_ROOT_BASE"] = str(moved)
    acme.must("update-tenant", "acme", "--jail", "acme", "--env-path", "/.env")
    assert not (moved / "acme/root/home/app/.env").exists()
    acme.must("provision", "acme")
    assert (moved / "acme/root/.env").exists()


def test_a_refused_update_takes_nothing_away(acme: Cli) -> None:
    acme.tenant("beta")
    before = delivered(acme).stat()
    assert code(acme, "update-tenant", "acme", "--collection", "beta") == "collection_taken"
    assert delivered(acme).stat().st_ino == before.st_ino
    assert row(acme)["status"] == "active"


def test_a_file_of_a_crashed_first_delivery_is_not_left_at_the_old_place(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cli.tenant("acme")

    def dies(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(LazyRegistry, "commit", dies)
        assert cli.run("provision", "acme").status == 130
    assert path.exists()
    cli.must("update-tenant", "acme", "--env-path", "/home/app/other.env")
    assert not path.exists()


@pytest.mark.parametrize("action", ["revoke", "offboard"])
def test_nothing_comes_back_while_the_source_is_away(
    acme: Cli, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise AWAY

    path = delivered(acme)
    with monkeypatch.context() as patched:
        patched.setattr(EmbeddedSource, "end_access", away)
        assert code(acme, action, "acme") == "source_unreachable"
    acme.run("provision", "--all")
    assert not path.exists()
    monkeypatch.setattr(EmbeddedSource, "end_access", lambda *_, **__: ("a token",))
    assert acme.must(action, "acme", "--json").json["ended"] == ["a token"]


@pytest.mark.parametrize("action", ["suspend", "revoke", "offboard"])
def test_a_tenant_that_blocks_its_removal_gets_no_new_secret(acme: Cli, action: str) -> None:
    path = delivered(acme)
    path.unlink()
    path.mkdir()  # a directory is never removed
    assert code(acme, action, "acme") == "target_not_regular"
    path.rmdir()
    acme.must("provision", "--all")
    assert not path.exists()
    assert code(acme, "provision", "acme") == "tenant_suspended"
    assert acme.must(action, "acme", "--json").json["changed"] is True


def test_the_wrong_host_claims_no_removal(acme: Cli) -> None:
    path = delivered(acme)
    acme.settings["COLIBRI_HOST"] = "h2"
    for action in ("revoke", "offboard", "verify", "provision"):
        assert acme.run(action, "acme").status in {5, 8}
    assert path.exists()
    acme.settings["COLIBRI_HOST"] = "h1"
    acme.must("revoke", "acme")
    assert not path.exists()


def test_a_new_host_name_gives_no_jail_away(acme: Cli) -> None:
    acme.must("secret", "set", "beta", "KEY", stdin=b"value")
    acme.settings["COLIBRI_HOST"] = "h2"
    again = ("register-tenant", "beta", "--jail", "acme", "--tier", "scratch")
    assert code(acme, *again) == "jail_taken"
    assert code(acme, "jail", "destroy", "acme") == "jail_taken"
    assert (acme.state / "jails/acme/root").exists()


def test_a_jail_somebody_registered_meanwhile_is_not_taken_away_again(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("acme", "beta"):
        cli.must("secret", "set", name, "KEY", stdin=b"value")
    prove, beta = ConfinedDelivery.prove_root, ("register-tenant", "beta", "--jail", "acme")
    seen: list[int] = []

    def between(self: ConfinedDelivery, root: Any) -> int:
        seen.append(1)
        if len(seen) == 1:
            cli.must(*beta, "--tier", "scratch")
        return prove(self, root)

    monkeypatch.setattr(ConfinedDelivery, "prove_root", between)
    again = ("register-tenant", "acme", "--create-jail", "--tier", "scratch")
    assert code(cli, *again) == "jail_taken"
    assert (cli.state / "jails/acme/root").exists()


@pytest.mark.parametrize("action", ["revoke", "offboard"])
def test_a_jail_that_other_settings_do_not_show_is_not_taken_for_gone(
    acme: Cli, action: str
) -> None:
    path = delivered(acme)
    acme.settings["COLIBRI_JAIL_ROOT_BASE"] = str(acme.home / "elsewhere")
    assert code(acme, action, "acme") == "jail_root_not_allowed"
    assert path.exists()


def test_a_jail_its_engine_has_lost_is_cleared_all_the_same(acme: Cli) -> None:
    path = delivered(acme)
    (acme.state / "jails/acme/jail.json").unlink()
    assert acme.must("revoke", "acme", "--json").json["found"] == "file"
    assert not path.exists()


def test_a_destroyed_jail_holds_nothing(acme: Cli) -> None:
    shutil.rmtree(acme.state / "jails/acme")
    assert acme.must("offboard", "acme", "--json").json["found"] == "missing"


def test_an_offboarded_tenant_has_no_say_over_its_old_jail(acme: Cli) -> None:
    acme.must("offboard", "acme")
    acme.must("secret", "set", "beta", "KEY", stdin=b"value")
    acme.must(
        *("register-tenant", "beta", "--jail", "acme", "--tier", "scratch"),
        *("--env-path", "/home/app/.env"),
    )
    acme.must("provision", "beta")
    acme.must("verify", "acme")
    acme.must("offboard", "acme")
    assert delivered(acme).exists()
    acme.must("verify", "beta")
