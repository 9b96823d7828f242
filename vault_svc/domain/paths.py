"""Lexical rules for the path of a file as the jail sees it (containment rule 3, decision 5)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from vault_svc.errors import ColibriError, printable

# Printable ASCII without the slash: no control characters, no look-alikes, nothing to decode.
_COMPONENT: Final = re.compile(r"[\x20-\x2e\x30-\x7e]{1,255}")
MAX_COMPONENTS: Final = 64
# What a crashed delivery leaves, and the next run or a removal deletes.
OURS: Final = ".colibri-"


@lru_cache(maxsize=1024)  # most tenants have one of a few paths, and each is asked for repeatedly
def jail_path(text: str) -> tuple[str, ...]:
    """Return the components of an absolute jail path, before any system call sees it.

    Exactly one leading slash is taken off. Raises `bad_path` for relative paths, empty, `.`
    and `..` components, a trailing slash, control characters, anything outside ASCII and names
    of our own temporary files.
    """
    if not text.startswith("/"):
        raise _refused(text, "it is not absolute")
    parts = tuple(text[1:].split("/"))
    if len(parts) > MAX_COMPONENTS:
        raise _refused(text, f"it has more than {MAX_COMPONENTS} components")
    for part in parts:
        if part in {"", ".", ".."}:
            raise _refused(text, f"it has a component '{part}'")
        if not _COMPONENT.fullmatch(part):
            raise _refused(text, "a component is too long or has characters outside plain ASCII")
        if part.startswith(OURS):
            raise _refused(text, f"names that begin with {OURS} are colibri's temporary files")
    return parts


def _refused(text: str, why: str) -> ColibriError:
    return ColibriError(
        "bad_path",
        f"'{printable(text[:80])}' is not a path colibri writes to: {why}",
        hint="write the canonical path as the jail sees it, for example /home/app/.env",
    )
