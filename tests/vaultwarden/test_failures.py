"""What bw says when it fails, as 2026.8.0 and 2026.9.0 say it, becomes a code and no more."""

from __future__ import annotations

import pytest

from vault_svc.adapters.sources.vaultwarden import failures
from vault_svc.errors import CODES, ColibriError

AT = "https://vault.example.org/identity/connect/token"
FETCH = f"FetchError: request to {AT} failed, reason: "
CUT = f"FetchError: invalid json response body at {AT} reason: Unterminated string in JSON at"
SAID = [
    ("Incorrect client_secret", "source_auth_failed"),
    ("Invalid client_id", "source_auth_failed"),
    ("client_id or client_secret is incorrect. Try again.", "source_auth_failed"),
    ("Invalid API Key; Organization API Key currently not supported", "source_auth_failed"),
    ('{"response":{"error":{"code":401,"reason":"Unauthorized"}},"statusCode":401}',
     "source_auth_failed"),
    ("Unauthorized response received for request to /sync?excludeDomains=true. Attempting",
     "source_auth_failed"),
    ('{"response":{"error":{"code":403,"reason":"Forbidden"}},"statusCode":403}',
     "source_forbidden"),
    ("Syncing failed: forbidden", "source_forbidden"),
    ("Rate limit exceeded. Try again later.", "source_rate_limited"),
    ("Syncing failed: Rate limit exceeded. Try again later.", "source_rate_limited"),
    ('{"response":{"error":{"code":500,"reason":"Internal Server Error"}},"statusCode":500}',
     "source_unreachable"),
    ('{"response":null,"statusCode":502}', "source_unreachable"),
    (FETCH + "connect ECONNREFUSED 127.0.0.1:9", "source_unreachable"),
    (FETCH + "getaddrinfo ENOTFOUND vault.example.org", "source_unreachable"),
    (FETCH + "socket hang up", "source_unreachable"),
    (FETCH + "something new", "source_unreachable"),
    (FETCH + "unable to verify the first certificate; if the root CA is", "server_mismatch"),
    (FETCH + "self-signed certificate in certificate chain", "server_mismatch"),
    (FETCH + "certificate has expired", "server_mismatch"),
    (FETCH + "Hostname/IP does not match certificate's altnames: IP: 127.0.0.1", "server_mismatch"),
    ("Error: Insecure URL not allowed. All URLs must use HTTPS.", "server_mismatch"),
    (f"{CUT} position 2864 (line 1 column 2865)", "source_incomplete"),
    ("Syncing failed: Error: ENOSPC: no space left on device, write", "no_space"),
    ("You are not logged in.", "source_incomplete"),
    ("Vault is locked.", "source_incomplete"),
    ("FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory",
     "source_incomplete"),
    ("boom", "source_incomplete"),
    ("", "source_incomplete"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "code"), SAID, ids=[said[:40] for said, _ in SAID])
def test_what_bw_said_becomes_a_code(said, code):
    error = failures.failure("login", said.encode())
    assert error.code == code
    assert CODES[code].status in {6, 10}
    assert error.message.startswith("login: ")


@pytest.mark.parametrize("said", [said for said, _ in SAID if said])
def test_nothing_that_bw_said_is_in_the_message(said):
    canary = f"canary@example.org {AT} 01234567-89ab-4cde-8f01-23456789abcd"
    line = failures.failure("login", f"{canary}\n{said}\n{canary}".encode()).line()
    assert not [word for word in canary.split() if word in line]
    assert "127.0.0.1" not in line


def test_a_failed_decryption_is_a_wrong_password_only_at_unlock():
    said = b"ERROR bitwarden_crypto...\nCryptography error, The decryption operation failed"
    assert failures.failure("unlock", said).code == "source_auth_failed"
    assert failures.failure("list items", said).code == "source_incomplete"


UNDECRYPTED = b"""ERROR bitwarden_crypto::store::context: error=The decryption operation failed

ERROR bitwarden_vault::cipher::cipher: error=The decryption operation failed

Failed to decrypt cipher 941e3332-a832-5dc3-96bb-dd6e88cdaeea: DecryptError: \
The decryption operation failed

"""


def test_lists_may_complain_of_decryption_and_of_nothing_else():
    assert failures.complained("list items", b"") is False
    assert failures.complained("list items", UNDECRYPTED) is True
    for more in (b"Warning: something\n", b"Failed to decrypt cipher x: other\n", b"\xff"):
        with pytest.raises(ColibriError) as caught:
            failures.complained("list items", UNDECRYPTED + more)
        assert caught.value.code == "source_incomplete"


WARNING = (
    b"[UserKeyIdBackfillMigration] Could not determine whether user "
    b"8386b018-0b7a-5203-b297-d6a9733a88ce needs migration: KeyIdBackfillError: "
    b"User key is not available in key store\n"
)


def test_a_login_may_print_the_named_warning_and_nothing_else():
    assert failures.is_clean_login(b"")
    assert failures.is_clean_login(WARNING)
    assert not failures.is_clean_login(WARNING + b"Unable to fetch ServerConfig from x\n")
    assert not failures.is_clean_login(b"(node:1) Warning: extra certs not loaded\n")


def test_only_the_backfill_is_a_reason_to_unlock_again():
    assert failures.is_backfill(b"Error [KeyIdBackfillError]: API call failed during user key id")
    assert not failures.is_backfill(b"Cryptography error, The decryption operation failed")
    assert not failures.is_backfill(b"")
