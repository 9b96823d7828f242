"""A broken log is put aside whole, and the new one vouches for what was put aside."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from tests.kit.cli import Cli
from vault_svc.adapters.audit import renewing
from vault_svc.hazmat import private


def _log(cli: Cli) -> Path:
    return cli.state / "audit" / "audit.jsonl"


def _edit(cli: Cli) -> None:
    changed = _log(cli).read_bytes().replace(b"collection_changed", b"collection_removed", 1)
    assert changed != _log(cli).read_bytes()
    _log(cli).write_bytes(changed)


def _cut(cli: Cli) -> None:
    lines = _log(cli).read_bytes().splitlines(keepends=True)
    _log(cli).write_bytes(b"".join(lines[:-2]))


def _delete(cli: Cli) -> None:
    _log(cli).unlink()


def _shuffle(cli: Cli) -> None:
    lines = _log(cli).read_bytes().splitlines(keepends=True)
    _log(cli).write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))


@pytest.fixture
def busy_host(cli: Cli) -> Cli:
    cli.tenant()
    cli.must("provision", "acme")
    return cli


@pytest.mark.parametrize("damage", [_edit, _cut, _delete, _shuffle])
def test_broken_log_is_put_aside_and_a_new_one_begins(busy_host: Cli, damage) -> None:
    cli = busy_host
    last = cli.must("audit", "tail", "-n", "1", "--json").json["items"][0]["seq"]
    damage(cli)
    damaged = _log(cli).read_bytes() if _log(cli).exists() else None
    assert cli.run("audit", "verify").error["code"] == "audit_broken"

    done = cli.must("audit", "renew", "--json").json

    # Lines that are gone count as far as the registry remembers them: all but the newest batch.
    assert last <= done["seq"] <= last + 1
    kept = cli.state / "audit" / done["aside"] / "audit.jsonl"
    (first,) = cli.must("audit", "tail", "--json").json["items"]
    assert (first["event"], first["detail"]["aside"]) == ("log_renewed", done["aside"])
    if damaged is None:
        assert first["detail"]["sha256"] == {}
    else:
        assert kept.read_bytes() == damaged
        digest = hashlib.sha256(damaged).hexdigest()
        assert first["detail"]["sha256"] == {"audit.jsonl": digest}
    cli.must("audit", "verify")
    cli.must("secret", "set", "acme", "API_KEY", stdin=b"another")
    cli.must("provision", "acme")
    cli.must("audit", "verify")
    cli.must("doctor")


def test_intact_log_is_left_alone(busy_host: Cli) -> None:
    before = _log(busy_host).read_bytes()
    result = busy_host.run("audit", "renew")
    assert (result.status, result.error["code"]) == (2, "usage")
    assert _log(busy_host).read_bytes() == before


def test_new_log_is_tampered_with_as_noticeably_as_the_old(busy_host: Cli) -> None:
    cli = busy_host
    _edit(cli)
    cli.must("audit", "renew")
    cli.must("jail", "create", "spare")
    lines = _log(cli).read_bytes().splitlines(keepends=True)
    for spoiled in (lines[1:], lines[:1], lines[::-1], []):
        _log(cli).write_bytes(b"".join(spoiled))
        assert cli.run("audit", "verify").error["code"] == "audit_broken", spoiled
    _log(cli).write_bytes(b"".join(lines))
    cli.must("audit", "verify")


def test_renewed_line_of_another_log_begins_nothing_here(busy_host: Cli, state_dir: Path) -> None:
    """Only a holder of the host key can say that a log was renewed."""
    cli = busy_host
    other = Cli(state_dir / "other")
    other.home.mkdir(mode=0o700)
    other.ready().must("jail", "create", "spare")
    log = _log(other)
    log.write_bytes(log.read_bytes().replace(b"jail_created", b"jail_deleted"))
    other.must("audit", "renew")
    shutil.copyfile(log, _log(cli))
    assert cli.run("audit", "verify").error["code"] == "audit_broken"


@pytest.mark.parametrize("calls", range(6))
def test_crash_at_any_step_is_mended_by_running_it_again(
    busy_host: Cli, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    cli, left = busy_host, calls
    _edit(cli)
    damaged = _log(cli).read_bytes()

    class Crash(BaseException):
        pass

    def crashing(name: str):
        real = getattr(private, name)

        def call(*arguments):
            nonlocal left
            if left == 0:
                raise Crash
            left -= 1
            return real(*arguments)

        return call

    with monkeypatch.context() as patch:
        for name in ("rename", "sync_directory", "make_directory"):
            patch.setattr(renewing.private, name, crashing(name))
        status = cli.run("audit", "renew").status
    assert left == 0 or status == 0
    if cli.run("audit", "verify").status:
        cli.must("audit", "renew")
    cli.must("audit", "verify")
    aside = [path.read_bytes() for path in (cli.state / "audit").glob("broken-*/audit.jsonl")]
    assert aside == [damaged]
