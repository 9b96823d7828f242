"""What the operator may set about a read from Vault or OpenBao; units are in the names."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Options:
    """Limits of one server's use.

    proxy is the one proxy there is: the environment's has no effect (decision 18). concurrency
    bounds requests at once; patience_seconds bounds all waiting for a server that is slowed
    down, sealed or between leaders, over a whole run.
    """

    proxy: str = ""
    timeout_seconds: float = 20.0
    max_answer_bytes: int = 32 * 1024 * 1024
    concurrency: int = 8
    backoff_seconds: float = 0.5
    patience_seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class Rules:
    """What a collection may hold: policy and limits."""

    allowed_variables: frozenset[str] = field(default_factory=frozenset)
    max_value_bytes: int = 131_000
    max_secrets: int = 5_000
    max_collection_bytes: int = 8 * 1024 * 1024
