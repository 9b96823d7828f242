"""What can be chosen by name."""

from __future__ import annotations

from collections.abc import Sequence

from vault_svc.errors import ColibriError

ENGINES = ("directory", "bubblewrap", "podman", "nspawn", "bastille")
SOURCES = ("embedded", "vault", "vaultwarden")
WRITABLE_SOURCES = ("embedded", "vault")
OPERATED_SOURCES = ("vault",)
SERVER_SOURCES = ("vault", "vaultwarden")


def unknown(what: str, name: str, known: Sequence[str]) -> ColibriError:
    """Return the error for a name that nothing has."""
    return ColibriError("usage", f"there is no {what} '{name[:40]}'", hint=", ".join(known))
