"""Leased values where each secret has a file: read back from there, and believed only if proven."""

from __future__ import annotations

import pytest

DUE = 3600.0 * 2 / 3


@pytest.fixture
def files(place):
    """The tenant with static and leased values delivered, one file each."""
    place.must("update-tenant", "acme", "--delivery", "files", "--env-path", "/home/app/secrets")
    place.directory = place.file.with_name("secrets")
    place.before = delivered(place)
    return place


def delivered(place) -> dict[str, str]:
    place.must("provision", "acme")
    return values(place)


def values(place) -> dict[str, str]:
    return {each.name: each.read_text() for each in place.directory.iterdir()}


def test_a_static_change_keeps_the_lease(files):
    asked = files.server.calls.count("issue")
    files.must("secret", "set", "acme", "API_KEY", stdin=b"second-value")
    assert delivered(files) == files.before | {"API_KEY": "second-value"}
    assert files.server.calls.count("issue") == asked
    assert files.is_good(values(files))


def test_a_file_the_tenant_changed_is_not_believed(files):
    path = files.directory / "DB_PASSWORD"
    path.chmod(0o600)
    path.write_text("forged")
    after = delivered(files)
    assert "forged" not in after.values()
    assert files.is_good(after)
    assert not files.is_good(files.before)


def test_a_lost_lease_is_replaced_and_the_static_file_stays(files):
    inode = (files.directory / "API_KEY").stat().st_ino
    files.server.forget_lease("database/creds/app")
    assert files.renewed()["result"] == "redelivered"
    assert files.is_good(values(files))
    assert (files.directory / "API_KEY").stat().st_ino == inode


def test_renewed_in_time_no_file_changes(files):
    before = {each.name: each.stat().st_ino for each in files.directory.iterdir()}
    files.clock.turn(DUE)
    assert files.renewed()["result"] == "renewed"
    assert {each.name: each.stat().st_ino for each in files.directory.iterdir()} == before


def test_a_revocation_ends_lease_and_files(files):
    files.must("revoke", "acme")
    assert not files.directory.exists()
    assert not files.is_good(files.before)
