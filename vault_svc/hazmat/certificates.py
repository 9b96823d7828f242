"""Until when a certificate is good, by the cryptography library; nothing else of it is believed."""

from __future__ import annotations

from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity


def not_after(text: str) -> datetime | None:
    """Return the end of an X.509 (PEM, RFC 5280) or OpenSSH certificate's validity, or None.

    None is for what is no such certificate, and for an SSH one that is valid for ever.
    """
    raw = text.encode("utf-8", "replace")
    try:
        if text.lstrip().startswith("-----BEGIN"):
            return x509.load_pem_x509_certificate(raw).not_valid_after_utc
        found = load_ssh_public_identity(raw.strip())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    if not isinstance(found, SSHCertificate):
        return None
    try:
        return datetime.fromtimestamp(found.valid_before, UTC)
    except (OverflowError, ValueError, OSError):
        return None
