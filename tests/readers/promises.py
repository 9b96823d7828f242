"""Which reader each profile promises: the one table, from the measurements in dotenv's design.

`universal` is read the same by all. What needs quotes is lost to readers that keep them as
characters (docker, podman, compose raw), so `dotenv` promises everybody else. `dotenv` and
`universal` were measured with 0 differences over random values in all readers named here.
"""

from __future__ import annotations

SHELLS = ("bash", "bash-posix", "dash", "busybox-sh", "zsh", "ksh93", "mksh")
LIBRARIES = (
    "python-dotenv", "pydantic-settings", "node-dotenv-16", "node-dotenv-18", "node-env-file",
    "ruby-dotenv", "direnv",
)  # fmt: skip
RAW = ("docker", "podman", "compose-raw")

PROMISES: dict[str, tuple[str, ...]] = {
    "universal": (*LIBRARIES, *SHELLS, "systemd", "compose", *RAW),
    "dotenv": (*LIBRARIES, *SHELLS, "systemd", "compose"),
    "shell": SHELLS,
    "systemd": ("systemd",),
    "compose": ("compose",),
    "docker-raw": RAW,
}
