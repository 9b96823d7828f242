"""Host keys: known answers, one blob, rotation, and nothing that shows a key."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
import pickle
import re

import pytest

from tests.kit.memory import HOST_KEY_URI, MemoryCredentials, host_keys
from vault_svc.adapters.credentials.hostkeys import StoredHostKeys, fresh_host_key
from vault_svc.domain.secret import SecretValue
from vault_svc.errors import ColibriError
from vault_svc.hazmat.hostkey import HostKey

KEY = "00112233445566778899aabbccddeeff" * 2
BLOB = json.dumps({"version": 1, "current": "k1", "keys": {"k1": KEY}})


def stored(blob: str) -> StoredHostKeys:
    store = MemoryCredentials()
    store.put(HOST_KEY_URI, SecretValue(blob))
    return StoredHostKeys(store, HOST_KEY_URI)


def mac(key: bytes, message: bytes) -> str:
    """HMAC as RFC 2104 writes it down, so that nothing is compared with itself."""
    block = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in block) + message).digest()
    return hashlib.sha256(bytes(b ^ 0x5C for b in block) + inner).hexdigest()


def test_digests_and_chain_values_are_the_documented_ones():
    root = bytes.fromhex(KEY)
    digest = bytes.fromhex(mac(root, b"colibri/digest/1"))
    audit = bytes.fromhex(mac(root, b"colibri/audit/1"))
    keys = stored(BLOB)
    assert keys.digest("acme", b"A=1\n") == "k1:" + mac(digest, b"acme\0A=1\n")
    assert keys.chain("ab" * 32, b"line") == mac(audit, b"ab" * 32 + b"\0line")


def test_known_answers_guard_the_format():
    """Digests and audit logs outlive releases."""
    keys = stored(BLOB)
    assert keys.digest("acme", b"A=1\n") == (
        "k1:bbc62d20f0b680fe8ab6436c4cf7f0c1b71736aef53e1e3d24a38456dc38a4fe"
    )
    assert keys.chain("ab" * 32, b"line") == (
        "9154ae9f41b821355d2b96072c67123ed162d52166ca8528b723f5912d08f44e"
    )


def test_digests_are_of_tenant_content_purpose_and_key():
    keys = stored(BLOB)
    other = stored(BLOB.replace("00", "ff"))
    found = {
        keys.digest("acme", b"x"),
        keys.digest("acme", b"y"),
        keys.digest("acmf", b"x"),
        keys.digest("acm", b"e\0x"),
        keys.digest("acme", b"\0x"),
        other.digest("acme", b"x"),
        "k1:" + keys.chain("acme", b"x"),
    }
    assert len(found) == 7
    assert all(re.fullmatch("k1:[0-9a-f]{64}", digest) for digest in found)


def test_nothing_is_read_before_the_first_digest_and_once_after_it():
    store = MemoryCredentials()
    store.put(HOST_KEY_URI, fresh_host_key())
    keys = StoredHostKeys(store, HOST_KEY_URI)
    assert store.gets == []
    keys.digest("acme", b"x")
    keys.chain("", b"x")
    assert keys.current == "k1"
    assert store.gets == [HOST_KEY_URI]


def test_rotation_keeps_the_old_key_for_verification():
    store = MemoryCredentials()
    keys = host_keys(store)
    before = keys.digest("acme", b"x")
    assert keys.rotate() == ("k1", "k2")
    assert keys.current == "k2"
    after = keys.digest("acme", b"x")
    assert after.startswith("k2:")
    assert after[3:] != before[3:]
    assert keys.digest("acme", b"x", key_id="k1") == before
    assert keys.rotate() == ("k2", "k3")
    again = StoredHostKeys(store, HOST_KEY_URI)
    assert again.current == "k3"
    assert again.digest("acme", b"x", key_id="k1") == before


def test_another_process_learns_of_a_new_key_when_it_meets_it():
    store = MemoryCredentials()
    ours, theirs = host_keys(store), host_keys(store)
    assert (ours.current, theirs.current) == ("k1", "k1")
    ours.rotate()
    digest = ours.digest("acme", b"x")
    assert theirs.digest("acme", b"x", key_id="k2") == digest
    assert theirs.current == "k2"


@pytest.mark.parametrize("key_id", ["k2", "", "k0", "x", "k1 ", "../k1"])
def test_an_unknown_key_is_missing(key_id):
    keys = stored(BLOB)
    if key_id == "":
        assert keys.digest("acme", b"x", key_id="").startswith("k1:")
        return
    with pytest.raises(ColibriError) as caught:
        keys.digest("acme", b"x", key_id=key_id)
    assert caught.value.code == "credential_missing"


def test_no_credential_is_missing():
    with pytest.raises(ColibriError) as caught:
        StoredHostKeys(MemoryCredentials(), HOST_KEY_URI).digest("acme", b"x")
    assert caught.value.code == "credential_missing"


@pytest.mark.parametrize(
    "blob",
    [
        "",
        KEY,
        "[]",
        "null",
        BLOB.replace("1,", "2,", 1),
        BLOB.replace('"current": "k1"', '"current": "k2"'),
        BLOB.replace(KEY, KEY[:-1]),
        BLOB.replace(KEY, KEY.upper().replace("0", "G")),
        BLOB.replace("k1", "one"),
        BLOB.replace(f'"{KEY}"', "7"),
        BLOB[:-1],
        '{"version": 1, "current": "k1", "keys": []}',
    ],
)
def test_a_blob_that_is_none_is_refused_without_showing_it(blob):
    with pytest.raises(ColibriError) as caught:
        stored(blob).digest("acme", b"x")
    assert caught.value.code == "credential_missing"
    assert KEY[:16] not in caught.value.line()
    assert caught.value.__cause__ is None


def test_fresh_keys_differ_and_are_plausible():
    blobs = [json.loads(fresh_host_key().reveal()) for _ in range(3)]
    assert len({blob["keys"]["k1"] for blob in blobs}) == 3
    assert all(len(bytes.fromhex(blob["keys"]["k1"])) == 32 for blob in blobs)


def test_nothing_shows_a_key():
    keys = stored(BLOB)
    keys.digest("acme", b"x")
    key = HostKey(bytes.fromhex(KEY))
    for shown in (repr(keys), str(keys), repr(key), str(key), f"{key}", repr(keys._keys)):
        assert KEY[:16] not in shown
    root = bytes.fromhex(KEY)
    secrets = [hmac.digest(root, p, "sha256") for p in (b"colibri/digest/1", b"colibri/audit/1")]
    for copying in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError):
            copying(key)
    assert not any(secret in repr(vars(keys)).encode() for secret in (root, *secrets))


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_a_key_has_32_bytes(length):
    with pytest.raises(ValueError, match="32"):
        HostKey(b"x" * length)
