"""What the operator may set about a Vaultwarden read; every limit has its unit in its name."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Options:
    """Places and limits of one source; `data_dir` holds its lock and its circuit.

    timeout_seconds bounds each `bw` process and each request to one; runtime_dir is where private
    directories are made, "" for the best there is; untested_version is a CLI version outside the
    tested range that the operator vouches for.
    """

    data_dir: str
    runtime_dir: str = ""
    transport: str = "serve"
    bw_path: str = ""
    node_path: str = ""
    untested_version: str = ""
    timeout_seconds: float = 60.0
    lock_timeout_seconds: float = 300.0
    max_output_bytes: int = 64 * 1024 * 1024
    max_memory_bytes: int = 2 * 1024**3
    max_appdata_bytes: int = 512 * 1024 * 1024
    backoff_seconds: float = 20.0
    backoff_limit_seconds: float = 90.0


@dataclass(frozen=True, slots=True)
class Rules:
    """What an item may be: policy and the limits of one collection."""

    allowed_variables: frozenset[str] = field(default_factory=frozenset)
    ignored_items: frozenset[str] = field(default_factory=frozenset)
    shared_items: frozenset[str] = field(default_factory=frozenset)
    max_value_bytes: int = 131_000
    max_secrets: int = 5_000
    max_collection_bytes: int = 8 * 1024 * 1024
