"""The double and the pinned CLI themselves: what tests of the source rely on."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest

from tests.kit import bw, npm
from tests.kit.bw_client import Client
from tests.kit.vaultwarden import Double
from tests.vaultwarden.test_bw import ready

LOCKS = Path(bw.__file__).with_name("bw")
FOLDERS = sorted(path.name for path in LOCKS.iterdir())


@pytest.mark.parametrize("version", FOLDERS)
def test_every_package_is_pinned_by_integrity_and_by_no_address(version):
    lock = json.loads((LOCKS / version / "package-lock.json").read_text())
    rows = {name: row for name, row in lock["packages"].items() if name}
    assert rows["node_modules/@bitwarden/cli"]["version"] == version
    assert len(rows) > 200
    assert all(row["integrity"].startswith("sha512-") for row in rows.values())
    assert not any("resolved" in row for row in rows.values())


def test_a_package_that_is_not_what_the_lock_says_is_not_installed(tmp_path):
    folder = LOCKS.parents[1] / "readers"
    shutil.copy(folder / "package.json", tmp_path)
    lock = json.loads((folder / "package-lock.json").read_text())
    row = lock["packages"]["node_modules/dotenv16"]
    row["integrity"] = f"sha512-{base64.b64encode(bytes(64)).decode()}"
    (tmp_path / "package-lock.json").write_text(json.dumps(lock))
    assert npm.modules(tmp_path) == (None, "npm ci failed: EINTEGRITY")


def test_the_two_versions_are_the_ones_that_are_driven():
    assert set(bw.VERSIONS) == set(FOLDERS)
    assert max(FOLDERS) == bw.NEWEST


def test_the_installed_tree_is_as_a_trusted_helper_must_be():
    paths = [path for path in bw.installed().tree.rglob("*") if not path.is_symlink()]
    assert len(paths) > 1000
    assert not [path for path in paths if path.stat().st_mode & 0o022]


@pytest.mark.parametrize("version", bw.VERSIONS)
def test_the_installed_cli_says_its_version(version, double, tmp_path):
    client = Client(bw.installed(version), double, tmp_path)
    assert client.run("--version").out.strip() == version


def test_the_log_knows_the_device_and_what_was_sent_and_keeps_no_body(double, tmp_path):
    ready(double, tmp_path)
    assert double.log.steps()[:3] == ["token", "config", "sync"]
    assert len(double.log.devices()) == 1
    assert double.log.seen() == {"client_secret"}
    assert double.client_secret not in repr(double.log.entries)


def test_ids_follow_from_the_seed(tmp_path):
    def made(seed: str, name: str) -> tuple[str, str, str]:
        home = tmp_path / name
        home.mkdir()
        with Double(home, seed=seed) as double:
            return double.client_id, double.organization.id, double.add_collection("acme")

    assert made("one", "a") == made("one", "b")
    assert not set(made("one", "c")) & set(made("two", "d"))
