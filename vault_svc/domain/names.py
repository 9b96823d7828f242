"""Names and the one list of what may not be a name.

Reasons stand in the design's vocabulary: an id is a DNS label, a jail name, a container name
and a database prefix at once; a variable that changes how a program starts is not a secret.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from vault_svc.errors import ColibriError, printable

TENANT_ID: Final = re.compile(r"[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?", re.ASCII)
VARIABLE: Final = re.compile(r"[A-Z_][A-Z0-9_]{0,127}", re.ASCII)

RESERVED_IDS: Final = frozenset(
    [
        "system",
        "clawdie",
        "colibri",
        "root",
        "admin",
        "operator",
        "all",
        "localhost",
        "host",
        "api",
        "www",
        "web",
        "mail",
        "ns",
        "git",
        "cms",
        "ai",
        "ops",
        "brain",
        "skills",
    ]
)
RESERVED_SUFFIXES: Final = ("-ops", "-brain", "-skills", "-git", "-web")

REFUSED_VARIABLES: Final = frozenset(
    [
        "PATH",
        "HOME",
        "SHELL",
        "IFS",
        "ENV",
        "BASH_ENV",
        "PS4",
        "PROMPT_COMMAND",
        "PWD",
        "OLDPWD",
        "UID",
        "EUID",
        "PPID",
        "GROUPS",
        "SHLVL",
        "RANDOM",
        "LINENO",
        "SECONDS",
        "EPOCHSECONDS",
        "OPTIND",
        "NODE_OPTIONS",
        "NODE_PATH",
        "JAVA_TOOL_OPTIONS",
        "GCONV_PATH",
        "RUBYLIB",
        "RUBYOPT",
    ]
)
REFUSED_PREFIXES: Final = (
    "LD_", "DYLD_", "PYTHON", "PERL5", "GIT_", "BW_", "VAULT_", "BAO_", "COLIBRI_",
)  # fmt: skip


def tenant_id(text: str) -> str:
    """Return text if it is a tenant id; raise `tenant_name_refused` or `tenant_reserved`."""
    if not TENANT_ID.fullmatch(text) or "--" in text:
        raise ColibriError(
            "tenant_name_refused",
            f"'{printable(text[:64])}' is not a tenant id",
            hint="1 to 32 of a-z, 0-9 and single hyphens, beginning with a letter",
        )
    if text in RESERVED_IDS or text.endswith(RESERVED_SUFFIXES):
        raise ColibriError(
            "tenant_reserved",
            f"'{text}' belongs to the platform, a tenant of that name would own its resources",
            hint="choose an id that is no platform name and ends in none of "
            + " ".join(RESERVED_SUFFIXES),
        )
    return text


def jail_name(text: str) -> str:
    """Return text if an engine can take it as an exact name; raise `jail_name_refused`.

    The grammar is a tenant id's: Bastille resolves prefixes, tags, digits (JIDs) and `ALL`.
    """
    if not TENANT_ID.fullmatch(text) or "--" in text or text in {"all", "host"}:
        raise ColibriError(
            "jail_name_refused",
            f"'{printable(text[:64])}' is not a jail name",
            hint="1 to 32 of a-z, 0-9 and single hyphens, beginning with a letter",
        )
    return text


def is_jail_name(text: object) -> bool:
    """Say whether text is a jail name, for lists that hold other things too."""
    try:
        return isinstance(text, str) and bool(jail_name(text))
    except ColibriError:
        return False


def collection_name(text: str) -> str:
    """Return text if it can name an embedded collection; raise `usage`."""
    if not TENANT_ID.fullmatch(text) or "--" in text:
        raise ColibriError(
            "usage",
            f"'{printable(text[:64])}' is not a collection name",
            hint="1 to 32 of a-z, 0-9 and single hyphens, beginning with a letter",
        )
    return text


def variable(text: str, *, allowed: frozenset[str] = frozenset()) -> str:
    """Return text if a jail may be given a variable of that name; raise `secret_name_refused`.

    allowed: names the operator's policy lets through although they change how programs start.
    """
    _check_variable(text, allowed)
    return text


# The same few names come again for every tenant.
@lru_cache(maxsize=4096)
def _check_variable(text: str, allowed: frozenset[str]) -> None:
    # NAME=value typed where a name belongs: what follows the sign may be the secret.
    name, sign, _ = text.partition("=")
    shown = printable(name[:128]) + ("=…" if sign else "")
    if not VARIABLE.fullmatch(text) or not any(c.isalpha() for c in text):
        raise ColibriError(
            "secret_name_refused",
            f"'{shown}' is not a variable name",
            hint="1 to 128 of A-Z, 0-9 and _, not beginning with a digit, with a letter in it",
        )
    if text not in allowed and (text in REFUSED_VARIABLES or text.startswith(REFUSED_PREFIXES)):
        raise ColibriError(
            "secret_name_refused",
            f"'{shown}' changes how a program starts, it is not a secret",
            hint="rename it, or let it through with the setting allowed_variables",
        )
