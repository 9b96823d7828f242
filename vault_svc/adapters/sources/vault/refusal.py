"""An answer that is no success, kept without its body: a body may quote what was sent."""

from __future__ import annotations

import json
from typing import Any, Final

# Fragments of the server's own words, each with the one word that is kept of it.
_WORDS: Final = (
    ("sealed", "sealed"),
    ("not yet initialized", "uninitialised"),
    ("not initialized", "uninitialised"),
    ("no handler for route", "no_route"),
    ("unsupported path", "no_route"),
    ("Invalid path for a versioned", "versioned"),
    ("check-and-set", "cas"),
    ("wrapping token is not valid", "unwrapped"),
    ("invalid role", "bad_login"),
    ("invalid secret id", "bad_login"),
    ("local node not active", "no_leader"),
    ("no active cluster node", "no_leader"),
    ("high complexity", "too_large"),
    ("too large", "too_large"),
)


class Refusal(Exception):  # noqa: N818 - a server's no, often an expected one
    """Status and recognised words of an answer; `gone` says that a version was deleted.

    doing: what the orchestrator's own token was used for, in words; "" for a tenant's.
    """

    def __init__(self, status: int, body: bytes = b"", *, retry_after: float = 0.0) -> None:
        """Recognise what the body says, and forget it."""
        super().__init__(f"status {status}")
        self.status = status
        self.retry_after = retry_after
        self.doing = ""
        found = _parsed(body)
        said = " ".join(
            text
            for key in ("errors", "warnings")
            for text in _listed(found.get(key))
            if isinstance(text, str)
        )
        self.words = frozenset(word for fragment, word in _WORDS if fragment in said)
        data = found.get("data")
        self.gone = isinstance(data, dict) and isinstance(data.get("metadata"), dict)


def _listed(found: Any) -> list[Any]:
    return found if isinstance(found, list) else []


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
