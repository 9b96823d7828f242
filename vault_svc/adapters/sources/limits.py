"""What no `.env` could carry, whatever the source."""

from __future__ import annotations

from vault_svc.domain.secret import SecretValue


def misfit(value: SecretValue, max_bytes: int) -> str:
    """Return in words why a value cannot be delivered, or nothing; never the value."""
    try:
        length = len(value)
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if length > max_bytes:
        return f"is longer than max_value_bytes, {max_bytes} bytes"
    return "holds a NUL character" if "\0" in value.reveal() else ""
