"""Each page in the situation it is for: its blocks run in order and show what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.kit import bastille, engines
from tests.kit.arena import mounted
from tests.kit.cli import Cli, Result
from tests.runbooks import pages, test_vault, test_vaultwarden
from vault_svc.adapters.jails.bubblewrap import BubblewrapEngine
from vault_svc.adapters.jails.programs import SYSTEM

FORM = ["## Symptom", "## Check", "## Fix", "## Verify"]


def _deliver(cli: Cli, *tenants: str) -> None:
    for tenant in tenants:
        cli.tenant(tenant)
        cli.must("provision", tenant)


def _env(cli: Cli, tenant: str) -> Path:
    return cli.jail_root(tenant) / "home/app/.env"


def _edited_log(cli: Cli) -> None:
    _deliver(cli, "acme")
    log = cli.state / "audit" / "audit.jsonl"
    log.write_bytes(log.read_bytes().replace(b"collection_changed", b"collection_deleted"))


def _no_host_key(cli: Cli) -> None:
    _deliver(cli, "acme")
    (cli.state / "credentials" / "host.key").unlink()


def _no_identity(cli: Cli) -> None:
    _deliver(cli, "acme")
    (cli.state / "credentials" / "embedded.age").unlink()


def _spoiled_registry(cli: Cli) -> None:
    _deliver(cli, "acme", "beta")
    cli.must("revoke", "beta")
    with (cli.state / "colibri.sqlite").open("r+b") as file:
        file.write(b"not a database, for sure" * 64)


def _drifted(cli: Cli) -> None:
    _deliver(cli, "acme", "beta")
    with _env(cli, "acme").open("a") as file:
        file.write("ADDED=by-the-tenant\n")
    _env(cli, "acme").chmod(0o644)
    _env(cli, "beta").unlink()
    _env(cli, "beta").symlink_to("/etc/hostname")


def _cut_collection(cli: Cli) -> None:
    _deliver(cli, "acme", "beta")
    os.truncate(cli.state / "store" / "acme.age", 150)


def _one_active(cli: Cli) -> None:
    _deliver(cli, "acme")


def _no_hook(cli: Cli) -> None:
    _deliver(cli, "acme")
    cli.must("suspend", "acme")
    cli.settings["HOOKS"] = str(cli.home / "hooks.d")


def _suspended(cli: Cli) -> None:
    _deliver(cli, "acme")
    cli.must("suspend", "acme")


@dataclass
class Situation:
    arrange: Callable[[Cli], None]
    backup: dict[str, str] = field(default_factory=dict)  # name in backup/: what it is a copy of


SITUATIONS = {
    "audit-broken.md": Situation(_edited_log),
    "host-key-lost.md": Situation(_no_host_key, {"host.key": "credentials/host.key"}),
    "age-identity-lost.md": Situation(_no_identity, {"embedded.age": "credentials/embedded.age"}),
    "registry-corrupt.md": Situation(_spoiled_registry, {"registry": "."}),
    "tenant-drifted.md": Situation(_drifted),
    "tenant-leaves.md": Situation(_one_active),
    "hook-install.md": Situation(_no_hook),
    "spawn-agent.md": Situation(_suspended),
    "source-incomplete.md": Situation(_cut_collection, {"acme.age": "store/acme.age"}),
}


def _play(page: str, cli: Cli) -> None:
    blocks = pages.blocks(page)
    outputs = pages.run(blocks, cli.environment, cli.home)
    for block, output in zip(blocks, outputs, strict=True):
        assert pages.missing(block, output) == [], f"{block.commands}\nshowed:\n{output}"


@pytest.mark.parametrize("page", SITUATIONS)
def test_page_mends_its_situation(cli: Cli, page: str) -> None:
    SITUATIONS[page].arrange(cli)
    _play(page, cli)
    cli.must("audit", "verify")


@pytest.mark.root
def test_disk_full_page(state_dir: Path) -> None:
    cli = Cli(state_dir)
    cli.state.mkdir(mode=0o700)
    with mounted("tmpfs", "tmpfs", cli.state, "size=2m,mode=0700"):
        cli.ready()
        _deliver(cli, "acme")
        (cli.state / "spare").write_bytes(bytes(400_000))
        _fill(cli.state / "log-of-another-program")
        _play("disk-full.md", cli)


@pytest.mark.root
def test_secrets_in_memory_page(cli: Cli) -> None:
    if BubblewrapEngine([]).unavailable():
        pytest.skip("bubblewrap cannot be used here")
    memory = cli.home / "memory"
    cli.settings["COLIBRI_MEMORY_BASE"] = str(memory)
    cli.must("secret", "set", "acme", "API_KEY", stdin=b"value")
    made = ("--create-jail", "--engine=bubblewrap", "--delivery=tmpfs")
    cli.must("register-tenant", "acme", *made)
    cli.must("provision", "acme")
    try:
        subprocess.run(["umount", str(memory / "acme")], check=True)  # the host was restarted
        _play("secrets-in-memory.md", cli)
    finally:
        subprocess.run(["umount", str(memory / "acme")], check=False)


@pytest.mark.root
def test_freebsd_acceptance_page_against_the_stand_ins(cli: Cli) -> None:
    """The page itself is right; what it is for, only a FreeBSD host shows."""
    with engines.bastille(cli.home) as place:
        cli.settings |= {
            "COLIBRI_ENGINE_PATH": f"{cli.home}/bin:{SYSTEM}",
            "COLIBRI_BASTILLE_JAILS_DIR": str(place.base),
            "COLIBRI_BASTILLE_RELEASE": bastille.RELEASE,
            "KINDS": "thin",  # the others differ in what Bastille does: tests/unit/test_bastille.py
            "COLIBRI_JAIL_ROOT_BASE": str(place.base),
        }
        _play("freebsd-acceptance.md", cli)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


@pytest.mark.parametrize("page", [p for p, s in SITUATIONS.items() if s.backup])
def test_backup_mends_more_than_the_page_does_without(cli: Cli, page: str) -> None:
    """With a backup the same blocks run, and the delivered file is not even touched."""
    SITUATIONS[page].arrange(_Keeping(cli.home, backup=SITUATIONS[page].backup))
    delivered = _identity(_env(cli, "acme"))
    pages.run(pages.blocks(page), cli.environment, cli.home)
    assert (cli.home / "backup").is_dir()
    assert _identity(_env(cli, "acme")) == delivered
    cli.must("verify", "acme")
    cli.must("audit", "verify")


@dataclass
class _Keeping(Cli):
    """Takes the backup anew after each command, so that it is from right before the damage."""

    backup: dict[str, str] = field(default_factory=dict)

    def must(self, *argv: str, stdin: bytes = b"") -> Result:
        result = super().must(*argv, stdin=stdin)
        kept = self.home / "backup"
        shutil.rmtree(kept, ignore_errors=True)
        for name, source in self.backup.items():
            (kept / name).parent.mkdir(mode=0o700, exist_ok=True)
            if source == ".":
                (kept / name).mkdir(mode=0o700)
                for path in self.state.glob("colibri.sqlite*"):
                    shutil.copy2(path, kept / name)
            elif (self.state / source).exists():
                shutil.copy2(self.state / source, kept / name)
        return result


def _identity(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


@pytest.mark.parametrize("page", sorted(p.name for p in pages.RUNBOOKS.glob("*.md")))
def test_page_has_the_form(page: str) -> None:
    text = (pages.RUNBOOKS / page).read_text()
    if page == "README.md":
        return
    found = [line for line in text.splitlines() if line in FORM]
    assert found == FORM
    played = {*SITUATIONS, *test_vaultwarden.SITUATIONS, "disk-full.md", "first-proof.md"}
    played |= {
        "secrets-in-memory.md",
        "freebsd-acceptance.md",
        "dynamic-secrets.md",
        *test_vault.SITUATIONS,
    }
    assert page in played, "nobody executes this page"
    assert not re.search(r"^```(?!sh$|text$|$)", text, re.MULTILINE)


def test_every_runbook_that_messages_name_is_there() -> None:
    root = pages.RUNBOOKS.parent
    sources = [*root.glob("vault_svc/**/*.py"), *root.glob("cli/**/*.py")]
    named = {name for path in sources for name in re.findall(r"[\w-]+\.md\b", path.read_text())}
    named -= {
        "README.md",
        "SECURITY.md",
        "CONTRIBUTING.md",
        "contracts.md",
        "containment.md",
        "dotenv.md",
        "bw.md",
    }
    there = {path.name for path in pages.RUNBOOKS.glob("*.md")}
    assert named <= there
    assert len(named) >= 5
