"""A lost key is not replaced behind the operator's back, and replacing it touches no jail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.kit.cli import Cli


def _key(cli: Cli) -> Path:
    return cli.state / "credentials" / "host.key"


def _identity(cli: Cli) -> Path:
    return cli.state / "credentials" / "embedded.age"


@pytest.fixture
def delivered(cli: Cli) -> Path:
    path = cli.tenant()
    cli.must("provision", "acme")
    return path


def test_init_makes_no_key_where_one_is_lost(cli: Cli, delivered: Path) -> None:
    for path in (_key(cli), _identity(cli)):
        kept = path.read_bytes()
        path.unlink()
        assert cli.run("init").error["code"] == "credential_missing"
        assert not path.exists()
        path.write_bytes(kept)
        path.chmod(0o600)
    cli.must("init")
    cli.must("provision", "acme")
    assert delivered.exists()


def test_key_that_is_there_is_not_taken_for_lost(cli: Cli, delivered: Path) -> None:
    before = _key(cli).read_bytes(), (cli.state / "audit" / "audit.jsonl").read_bytes()
    result = cli.run("key", "rotate", "host", "--lost")
    assert (result.status, result.error["code"]) == (2, "usage")
    assert before == (_key(cli).read_bytes(), (cli.state / "audit" / "audit.jsonl").read_bytes())
    assert delivered.exists()


def test_new_key_has_an_id_of_its_own_and_files_are_taken_over(cli: Cli, delivered: Path) -> None:
    cli.must("key", "rotate", "host")
    inode = delivered.stat().st_ino
    _key(cli).unlink()
    done = cli.must("key", "rotate", "host", "--lost", "--json").json
    assert (done["old"], done["new"], done["left"]) == (None, "k3", ["acme"])
    assert list(json.loads(_key(cli).read_text())["keys"]) == ["k3"]
    # Until provision has taken it over, nobody vouches for the file, and verify says so.
    assert cli.run("verify", "acme").error["code"] == "credential_missing"
    outcome = cli.must("provision", "acme", "--json").json
    assert outcome["result"] == "adopted"
    assert outcome["receipt"]["digest"].startswith("k3:")
    assert delivered.stat().st_ino == inode
    cli.must("verify", "acme")
    cli.must("audit", "verify")
    cli.must("key", "rotate", "host")
    cli.must("verify", "acme")


def test_file_changed_while_the_key_was_lost_is_written_anew(cli: Cli, delivered: Path) -> None:
    content = delivered.read_bytes()
    _key(cli).unlink()
    delivered.write_bytes(b"PATH=/evil\n")
    cli.must("key", "rotate", "host", "--lost")
    assert cli.must("provision", "acme", "--json").json["result"] == "delivered"
    assert delivered.read_bytes() == content


def test_removal_works_under_a_new_key(cli: Cli, delivered: Path) -> None:
    _key(cli).unlink()
    cli.must("key", "rotate", "host", "--lost")
    cli.must("revoke", "acme")
    assert not delivered.exists()
    cli.must("audit", "verify")


def test_rotation_leaves_receipts_of_a_lost_key_to_provision(cli: Cli, delivered: Path) -> None:
    _key(cli).unlink()
    cli.must("key", "rotate", "host", "--lost")
    done = cli.must("key", "rotate", "host", "--json").json
    assert (done["redone"], done["left"]) == (0, ["acme"])
    cli.must("provision", "acme")
    cli.must("verify", "acme")
    assert delivered.exists()
