"""The ways a tenant's secrets stand in its jail, chosen at registration (decision 1).

`file` is one `.env`; `files` is a directory with one file per secret; `tmpfs` and `tmpfs-files`
are the same in memory, where the engine shows the jail a file system of its own.
"""

from __future__ import annotations

from typing import Final

from vault_svc.domain import dotenv, files, paths
from vault_svc.domain.secret import SecretSet
from vault_svc.domain.tenant import Tenant
from vault_svc.errors import ColibriError, printable

FILE: Final = "file"
FILES: Final = "files"
TMPFS: Final = "tmpfs"
TMPFS_FILES: Final = "tmpfs-files"
MODES: Final = {FILE: 0o600, FILES: 0o400, TMPFS: 0o600, TMPFS_FILES: 0o400}
"""Mode of each delivered file."""
MOUNT_POINT: Final = "/run/colibri"
"""Where a jail sees its memory file system."""
DEFAULT_PATHS: Final = {
    FILE: "/.env",
    FILES: "/secrets",
    TMPFS: f"{MOUNT_POINT}/.env",
    TMPFS_FILES: f"{MOUNT_POINT}/secrets",
}
"""Where they stand in a jail unless the operator says otherwise."""


def is_set(delivery: str) -> bool:
    """Say whether each secret has a file of its own."""
    return delivery in {FILES, TMPFS_FILES}


def in_memory(delivery: str) -> bool:
    """Say whether they stand on a memory file system."""
    return delivery in {TMPFS, TMPFS_FILES}


def shown_at(root: str) -> tuple[str, ...]:
    """Return a row's `mounts` for a memory file system at the host path root."""
    return (f"{root}:{MOUNT_POINT}",)


def memory_of(tenant: Tenant) -> str:
    """Return the host path of a row's memory, "" where it has none or does not say."""
    ends = (mount for mount in tenant.mounts if mount.endswith(f":{MOUNT_POINT}"))
    return next(ends, "").removesuffix(f":{MOUNT_POINT}")


def parts(delivery: str, path: str) -> tuple[str, ...]:
    """Return path's components below what is delivered into: the jail's root, or its memory.

    Raises `bad_path`, also for a path in memory that does not lie below its mount point.
    """
    whole = paths.jail_path(path)
    if not in_memory(delivery):
        return whole
    above = paths.jail_path(MOUNT_POINT)
    if whole[: len(above)] != above or len(whole) == len(above):
        raise ColibriError(
            "bad_path",
            f"'{printable(path[:80])}' is not below {MOUNT_POINT}, where the jail has its memory",
            hint=f"leave --env-path out, or write for example {DEFAULT_PATHS[TMPFS]}",
        )
    return whole[len(above) :]


def render(tenant: Tenant, values: SecretSet, allowed: frozenset[str]) -> bytes:
    """Return what is to stand in the jail as one run of bytes; raise what cannot be carried."""
    if is_set(tenant.delivery):
        return files.render(values, allowed=allowed)
    return dotenv.render(values, tenant.profile, allowed=allowed)


def values_of(tenant: Tenant, content: bytes) -> dict[str, str]:
    """Return the variables of bytes that `render` made; raise `internal` for others."""
    return files.parse_own(content) if is_set(tenant.delivery) else dotenv.parse_own(content)


def warnings(tenant: Tenant, values: SecretSet) -> tuple[str, ...]:
    """Return what is right for the promised readers and not for others, a line each."""
    return () if is_set(tenant.delivery) else dotenv.warnings(values, tenant.profile)


def size(tenant: Tenant, content: bytes) -> int:
    """Return how many bytes stand in the jail."""
    if is_set(tenant.delivery):
        return sum(map(len, files.unpack(content).values()))
    return len(content)
