"""The table of settings, and what each is by default."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

DEFAULT_SOURCE_FILE: Final = "default-source"
ENGINE_BASES: Final = (
    "/var/lib/containers/storage",
    "/var/lib/machines",
    "/usr/local/bastille/jails",
)
"""Where engines with a place of their own keep roots: podman(1), machinectl(1), bastille.conf."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting; environment names are the upper-case field names after `COLIBRI_`."""

    daemon_data_dir: str
    db_path: str
    db_url: str
    jail_root_base: tuple[str, ...]
    host: str
    host_key: str
    embedded_identity: str
    vaultwarden_credential: str
    vault_credential: str
    default_source: str
    default_engine: str
    podman_image: str
    podman_containers_conf: str
    podman_storage_conf: str
    nspawn_template: str
    bastille_jails_dir: str
    bastille_release: str
    bastille_kind: str
    bastille_address: str
    bastille_interface: str
    engine_path: str
    engine_timeout_seconds: float
    default_profile: str
    default_owner_uid: int
    default_owner_gid: int
    allowed_variables: frozenset[str]
    ignored_items: frozenset[str]
    shared_items: frozenset[str]
    allow_walk_fallback: bool
    create_parents: bool
    walk: str
    batch_size: int
    write_concurrency: int
    provision_processes: int
    known_way: frozenset[str]
    reload_command: str
    reload_timeout_seconds: float
    hook_timeout_seconds: float
    unregistered_jails: str
    second_layer: str
    memory_base: str
    memory_bytes: int
    lock_timeout_seconds: float
    db_busy_timeout_seconds: float
    max_value_bytes: int
    max_secrets_per_collection: int
    max_collection_bytes: int
    max_env_bytes: int
    receipts_kept: int
    audit_segment_bytes: int
    audit_segments_kept: int
    audit_reserve_bytes: int
    bw_path: str
    node_path: str
    bw_untested_version: str
    bw_transport: str
    bw_runtime_dir: str
    bw_timeout_seconds: float
    bw_lock_timeout_seconds: float
    bw_backoff_seconds: float
    bw_backoff_limit_seconds: float
    bw_max_output_bytes: int
    bw_max_memory_bytes: int
    bw_max_appdata_bytes: int
    vault_proxy: str
    vault_timeout_seconds: float
    vault_max_answer_bytes: int
    vault_concurrency: int
    vault_backoff_milliseconds: int
    vault_patience_seconds: float

    @property
    def tree_bases(self) -> tuple[str, ...]:
        """The bases of jails that colibri makes as plain trees: those that no engine owns."""
        owned = {*ENGINE_BASES, self.bastille_jails_dir}
        return tuple(base for base in self.jail_root_base if base not in owned)

    def inside(self, name: str) -> str:
        """Return the path of something kept in the data directory."""
        return str(Path(self.daemon_data_dir) / name)


def defaults(data_dir: str) -> dict[str, Any]:
    """Return what each setting is unless somebody says otherwise; state is in data_dir."""
    root = os.geteuid() == 0
    return {
        "daemon_data_dir": data_dir,
        "db_path": str(Path(data_dir) / "colibri.sqlite"),
        "db_url": "",
        "jail_root_base": (str(Path(data_dir) / "jails"), *ENGINE_BASES),
        "host": os.uname().nodename,
        "host_key": "file:" + str(Path(data_dir) / "credentials" / "host.key"),
        "embedded_identity": "file:" + str(Path(data_dir) / "credentials" / "embedded.age"),
        "vaultwarden_credential": "file:" + str(Path(data_dir) / "credentials" / "vaultwarden"),
        "vault_credential": "file:" + str(Path(data_dir) / "credentials" / "vault"),
        "default_source": recorded_default_source(data_dir) or "embedded",
        "default_engine": "directory",
        "podman_image": "",
        "podman_containers_conf": "",
        "podman_storage_conf": "",
        "nspawn_template": "",
        "bastille_jails_dir": ENGINE_BASES[2],
        "bastille_release": "",
        "bastille_kind": "thin",
        "bastille_address": "inherit",
        "bastille_interface": "",
        "engine_path": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "engine_timeout_seconds": 60.0,
        "default_profile": "universal",
        "default_owner_uid": 1000 if root else os.geteuid(),
        "default_owner_gid": 1000 if root else os.getegid(),
        "allowed_variables": frozenset[str](),
        "ignored_items": frozenset[str](),
        "shared_items": frozenset[str](),
        "allow_walk_fallback": False,
        "create_parents": False,
        "walk": "auto",
        "batch_size": 64,
        "write_concurrency": 8,
        "provision_processes": min(2 * _processors(), 4),
        "known_way": frozenset[str](),
        "reload_command": "",
        "reload_timeout_seconds": 10.0,
        "hook_timeout_seconds": 60.0,
        "unregistered_jails": "start",
        "second_layer": "auto",
        "memory_base": "/run/colibri-memory",
        "memory_bytes": 16 * 1024 * 1024,
        "lock_timeout_seconds": 30.0,
        "db_busy_timeout_seconds": 10.0,
        "max_value_bytes": 131_000,
        "max_secrets_per_collection": 5_000,
        "max_collection_bytes": 8 * 1024 * 1024,
        "max_env_bytes": 8 * 1024 * 1024,
        "receipts_kept": 100,
        "audit_segment_bytes": 16 * 1024 * 1024,
        "audit_segments_kept": 64,
        "audit_reserve_bytes": 256 * 1024,
        "bw_path": "",
        "node_path": "",
        "bw_untested_version": "",
        "bw_transport": "serve",
        "bw_runtime_dir": "",
        "bw_timeout_seconds": 60.0,
        "bw_lock_timeout_seconds": 300.0,
        "bw_backoff_seconds": 20.0,
        "bw_backoff_limit_seconds": 90.0,
        "bw_max_output_bytes": 64 * 1024 * 1024,
        "bw_max_memory_bytes": 2 * 1024 * 1024 * 1024,
        "bw_max_appdata_bytes": 512 * 1024 * 1024,
        "vault_proxy": "",
        "vault_timeout_seconds": 20.0,
        "vault_max_answer_bytes": 32 * 1024 * 1024,
        "vault_concurrency": 8,
        "vault_backoff_milliseconds": 500,
        "vault_patience_seconds": 20.0,
    }


def recorded_default_source(data_dir: str) -> str:
    """Return the source that `source login --default` recorded in the data directory, or none."""
    try:
        text = Path(data_dir, DEFAULT_SOURCE_FILE).read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
    return text if text.isalpha() else ""


def default_data_dir() -> str:
    """Return where state lives unless a setting says otherwise."""
    if os.geteuid() == 0:
        return "/var/db/colibri" if sys.platform.startswith("freebsd") else "/var/lib/colibri"
    from platformdirs import user_data_dir

    return user_data_dir("colibri")


def _processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
