"""What the double keeps: tokens, policies, mounts; and who may do what."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

ROOT = "root"
_RULE = re.compile(r'path\s+"([^"]+)"\s*\{\s*capabilities\s*=\s*\[([^\]]*)\]')


class Answer(Exception):  # noqa: N818 - an answer
    """A refusal, with the server's words."""

    def __init__(self, status: int, *errors: str, **more: Any) -> None:
        super().__init__(status)
        self.status = status
        self.body = {"errors": list(errors), **more}


@dataclass
class Token:
    """A service token; uses 0 is any number."""

    id: str
    policies: list[str]
    ttl: int = 0
    uses: int = 0
    renewable: bool = True
    accessor: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    path: str = ""
    born: float = field(default_factory=time.monotonic)

    def left(self) -> int:
        return 0 if not self.ttl else int(self.born + self.ttl - time.monotonic())


@dataclass
class Version:
    data: dict[str, Any] | None
    created: str
    deleted: str = ""
    destroyed: bool = False


@dataclass
class Lease:
    """One account of a leasing mount; until and longest are monotonic times."""

    accessor: str
    user: str
    until: float
    longest: float


@dataclass
class State:
    """Everything a server remembers."""

    tokens: dict[str, Token] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)
    roles: dict[str, dict[str, Any]] = field(default_factory=dict)
    auth: dict[str, str] = field(default_factory=dict)
    auth_roles: dict[str, dict[str, Any]] = field(default_factory=dict)
    wrapped: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    mounts: dict[str, int] = field(default_factory=dict)
    versions: dict[str, list[Version]] = field(default_factory=dict)
    leasing: dict[str, dict[str, Any]] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)

    def new_token(self, policies: list[str], **more: Any) -> Token:
        made = Token(f"s.{secrets.token_urlsafe(18)}", policies, **more)
        self.tokens[made.id] = made
        return made

    def enter(self, token_id: str, path: str, capability: str) -> Token:
        """Return the token that may do this, one use poorer; raise 403."""
        token = self.tokens.get(token_id)
        if token is None or (token.ttl and token.left() <= 0):
            raise Answer(403, "permission denied")
        if token.uses:
            token.uses -= 1
            if not token.uses:
                del self.tokens[token_id]
        if ROOT not in token.policies and capability not in self._granted(token, path):
            raise Answer(403, "1 error occurred:\n\t* permission denied\n\n")
        return token

    def _granted(self, token: Token, path: str) -> set[str]:
        granted: set[str] = set()
        for name in token.policies:
            for rule, capabilities in _RULE.findall(self.policies.get(name, "")):
                if _matches(rule, path):
                    granted |= set(re.findall(r'"(\w+)"', capabilities))
        return granted


def _matches(rule: str, path: str) -> bool:
    pattern = re.escape(rule).replace(r"\+", "[^/]+")
    if pattern.endswith(r"\*"):
        pattern = pattern[:-2] + ".*"
    return re.fullmatch(pattern, path) is not None
