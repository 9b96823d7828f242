"""Why `bw` failed, from a closed list: none of its own words leave this module (bw.md 4.2, 5).

Its stderr holds addresses, ids, e-mail and whole responses, so it is matched and dropped.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from vault_svc.errors import ColibriError

_LOGIN: Final = "colibri source login vaultwarden"
_DOWN: Final = "see the runbook vaultwarden-down.md"


class _Known(NamedTuple):
    """What bw says, the code it means, our words for it, and what to do."""

    said: str
    code: str
    words: str
    hint: str = ""


# First match wins.
_KNOWN: Final = (
    _Known("ENOSPC", "no_space", "the private directory of bw is full", "free memory or space"),
    _Known(
        r'Rate limit exceeded|"statusCode":429|statusCode: 429', "source_rate_limited",
        "the server asks to slow down", "wait a minute, then run it again",
    ),
    _Known(
        "Incorrect client_secret|Invalid client_id|client_id or client_secret is incorrect",
        "source_auth_failed", "the server refused the API key",
        f"{_LOGIN}, with the key that Settings, Security, Keys shows now",
    ),
    _Known(
        "Organization API Key", "source_auth_failed", "this is an organisation's API key", _LOGIN
    ),
    _Known(
        "Insecure URL not allowed", "server_mismatch", "the server's address is not https", _LOGIN
    ),
    _Known(
        "unable to verify the first certificate|self[- ]signed certificate"
        "|unable to get (?:local )?issuer certificate|CERT_UNTRUSTED",
        "server_mismatch", "the server's certificate is of an authority that is not trusted",
        f"{_LOGIN} --ca-file FILE, if that authority is meant",
    ),
    _Known("altnames", "server_mismatch", "the server's certificate is for another name", _DOWN),
    _Known(
        "certificate has expired|certificate is not yet valid", "server_mismatch",
        "the server's certificate has expired, or is not valid yet", _DOWN,
    ),
    _Known("SSL routines|EPROTO", "server_mismatch", "the server does not speak TLS there", _DOWN),
    _Known(
        "Unable to fetch ServerConfig", "source_unreachable",
        "the server did not tell its configuration", _DOWN,
    ),
    _Known("ECONNREFUSED", "source_unreachable", "the server refused the connection", _DOWN),
    _Known("ENOTFOUND|EAI_AGAIN", "source_unreachable", "the server's name is not known", _DOWN),
    _Known(
        "ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ECONNRESET|socket hang up|EPIPE",
        "source_unreachable", "the connection to the server broke", _DOWN,
    ),
    _Known(
        "invalid json response body|in JSON at position|Unexpected end of JSON",
        "source_incomplete", "the server's answer was cut off",
    ),
    _Known(
        r'Unauthorized response|"statusCode":401|"code":401', "source_auth_failed",
        "the server no longer takes this account", _LOGIN,
    ),
    _Known(
        r'"statusCode":403|Syncing failed: [Ff]orbidden|^[Ff]orbidden', "source_forbidden",
        "the server refused the account this read", "see the runbook vaultwarden-account.md",
    ),
    _Known(
        r'"statusCode":5\d\d|statusCode: 5\d\d', "source_unreachable", "the server failed", _DOWN
    ),
    _Known(
        "Insufficient KDF", "source_auth_failed", "the account's key derivation is too weak",
        "set PBKDF2 to 600000 iterations, or Argon2id, in the web vault",
    ),
    _Known("You are not logged in|Vault is locked", "source_incomplete", "bw lost its session"),
    _Known(
        "heap out of memory", "source_incomplete", "bw needs more memory than it may have",
        "raise the setting bw_max_memory_bytes",
    ),
    _Known("FetchError", "source_unreachable", "the server could not be reached", _DOWN),
)  # fmt: skip

# At unlock the one thing that is decrypted is our own key; later it is what others sealed.
_WRONG_KEY: Final = "decryption operation failed|[Ii]nvalid master password"
_BACKFILL: Final = "KeyIdBackfillError"
_BACKFILL_WARNING: Final = re.compile(
    r"\[UserKeyIdBackfillMigration\] Could not determine whether user [0-9a-f-]{36} needs "
    r"migration: KeyIdBackfillError: User key is not available in key store\n",
    re.ASCII,
)
_UNDECRYPTED: Final = re.compile(
    r"(?:ERROR bitwarden_[a-z_]+(?:::[a-z_]+)*: error=The decryption operation failed"
    r"|Failed to decrypt (?:cipher|collection) [0-9a-f-]{36}: "
    r"DecryptError: The decryption operation failed)?",
    re.ASCII,
)


def failure(step: str, said: bytes) -> ColibriError:
    """Return the error for a step that failed with said on stderr or in its answer."""
    text = said.decode("utf-8", "replace")
    for known in _KNOWN:
        if re.search(known.said, text, re.MULTILINE):
            return ColibriError(known.code, f"{step}: {known.words}", hint=known.hint)
    if re.search(_WRONG_KEY, text):
        if step == "unlock":
            return ColibriError(
                "source_auth_failed",
                "unlock: the master password is wrong",
                hint=f"{_LOGIN}, with the account's own, not an organisation owner's",
            )
        return ColibriError("source_incomplete", f"{step}: bw could not decrypt all of it")
    return ColibriError(
        "source_incomplete",
        f"{step}: bw failed for a reason colibri does not know",
        hint="colibri source doctor vaultwarden",
    )


def is_backfill(said: bytes) -> bool:
    """Say whether the only fault is that 2026.9 could not report its key id (bw.md 4.3)."""
    return _BACKFILL.encode() in said and b"bitwarden_crypto" not in said


def is_clean_login(stderr: bytes) -> bool:
    """Say whether a login printed nothing but the named warning of 2026.9 (decision 17)."""
    return not _BACKFILL_WARNING.sub("", stderr.decode("utf-8", "replace")).strip()


def complained(step: str, stderr: bytes) -> bool:
    """Return whether `bw` said that it could not decrypt something; raise for any other word."""
    text = stderr.decode("utf-8", "replace")
    lines = [line.strip() for line in text.split("\n")]
    if not all(_UNDECRYPTED.fullmatch(line) for line in lines):
        raise failure(step, stderr)
    return any(lines)
