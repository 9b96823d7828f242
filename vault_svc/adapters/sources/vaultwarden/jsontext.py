"""JSON that others wrote: `bw`, its state, the server."""

from __future__ import annotations

import json
from typing import Any


def parsed(raw: bytes) -> Any:
    """Return the document, or None, which is never one we take, where it is none or too deep."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None
