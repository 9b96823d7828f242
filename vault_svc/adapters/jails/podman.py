"""The engine `podman`: containers by their exact name, their root as `podman inspect` has it.

A container's merged directory is there only while it runs, and is another one each time it is
made (decision 7). An ordinary user's podman mounts it in a namespace of its own, out of sight.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vault_svc.adapters.jails import programs
from vault_svc.adapters.jails.owners import who_runs
from vault_svc.adapters.jails.programs import Program, field_of, items_of
from vault_svc.domain import names
from vault_svc.domain.delivered import MOUNT_POINT
from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError
from vault_svc.hazmat import marked
from vault_svc.hazmat.attach import attached
from vault_svc.ports.jail_engine import NOT_ROOT, Capabilities, JailInfo, Ran

MARK: Final = "colibri.jail"
"""Annotation and label of the containers colibri makes; hooks.d matches it (decision 8)."""

_STOP_SECONDS: Final = "5"
_MAX_OUTPUT_BYTES: Final = 1 << 20
_UNKNOWN: Final = b"no such container"


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator sets: the image of new jails, podman's own configuration files."""

    image: str = ""
    containers_conf: str = ""
    storage_conf: str = ""
    timeout_seconds: float = 60.0


_ROOTLESS = "_CONTAINERS_ROOTLESS_UID"
_ALL_IDS = ["0", "0", str(2**32 - 1)]  # nobody unshared anything
_UNSHARED = {
    _ROOTLESS, "_CONTAINERS_ROOTLESS_GID", "_CONTAINERS_USERNS_CONFIGURED", "HOME",
    "XDG_RUNTIME_DIR",
}  # fmt: skip


class PodmanEngine:
    """Containers of this account's podman, made by it or by colibri."""

    name = "podman"

    def __init__(
        self,
        options: Options,
        *,
        path: str = programs.SYSTEM,
        memory: Callable[[str], str] = lambda _: "",
    ) -> None:
        """Take the operator's options and where programs are looked for.

        memory: the host path of a jail's memory file system, "" for one without.
        """
        self._options = options
        self._memory = memory
        given = {
            "CONTAINERS_CONF": options.containers_conf,
            "CONTAINERS_STORAGE_CONF": options.storage_conf,
            "XDG_RUNTIME_DIR": _runtime_dir(),
            # Of an account that no passwd knows, podman would take `/` for its home.
            "HOME": "" if os.geteuid() == 0 else os.environ.get("HOME", ""),
            **_in_its_own_namespace(),
        }
        env = {key: value for key, value in given.items() if value}
        self._podman = Program("podman", "podman", env, path, options.timeout_seconds)

    @property
    def capabilities(self) -> Capabilities:
        """Roots come and go; as an ordinary user only the hook sees them."""
        return Capabilities(
            stable_roots=False,
            starts=True,
            user_namespace=True,
            hook=True,
            hook_only=os.geteuid() != 0,
            tmpfs=os.geteuid() == 0,
            no_tmpfs=NOT_ROOT,
        )

    def unavailable(self) -> str | None:
        """Return why podman does not answer here, or that the image of new jails is missing."""
        image = self._options.image
        try:
            self._podman.said("version", "--format", "json")
            if image and self._podman.tried("image", "exists", image).status != 0:
                return f"there is no image '{image}' (setting podman_image)"
        except ColibriError as error:
            return error.message
        return None

    def create(self, name: str, owner: Owner) -> JailInfo:
        """Make a container of the operator's image; it says what owner may use."""
        del owner
        names.jail_name(name)
        if not self._options.image:
            raise ColibriError(
                "usage",
                "no image is set for new podman jails",
                hint="set podman_image, or make the container with podman create --name",
            )
        if any(info.name == name for info in self.list()):
            raise ColibriError(
                "jail_taken", f"podman has a '{name}' already", hint="choose another name"
            )
        marks = (f"--annotation={MARK}={name}", f"--label={MARK}={name}", f"--hostname={name}")
        memory = self._memory(name)
        mount = [_memory_mount(memory)] if memory else []
        self._podman.said(
            "create", "--pull=never", f"--name={name}", *marks, *mount, "--", self._options.image
        )
        return JailInfo(name, "", self.name, running=False)

    def destroy(self, name: str) -> None:
        """Remove a container colibri made, its tree and its volumes; raise `jail_taken`."""
        found = self._inspected(name)
        labels = field_of(found, "podman", "Config", "Labels") or {}
        if labels.get(MARK) != name:
            raise ColibriError(
                "jail_taken",
                f"container '{name}' was not made by colibri",
                hint=f"podman rm {name}, if it is yours to remove",
            )
        self._podman.said("rm", "--force", "--time=0", "--volumes", _id(found))

    def start(self, name: str) -> None:
        """Start a container; raise `jail_not_found`, `engine_failed`."""
        self._podman.said("start", _id(self._inspected(name)))

    def stop(self, name: str) -> None:
        """Stop a container, killing what does not end by itself; raise `jail_not_found`."""
        self._podman.said("stop", f"--time={_STOP_SECONDS}", _id(self._inspected(name)))

    def list(self) -> list[JailInfo]:
        """Return the containers whose name is a jail's, sorted; pods' own are left out."""
        if not self._podman.installed:
            return []
        whole = items_of(self._podman.document("ps", "--all", "--format=json"), "podman")
        found = [
            JailInfo(name, "", self.name, running=each.get("State") == "running")
            for each in whole
            if not each.get("IsInfra")
            for name in each.get("Names") or ()
            if names.is_jail_name(name)
        ]
        return sorted(found, key=lambda info: info.name)

    def root_of(self, name: str) -> str:
        """Return the merged directory of a running container; raise `jail_not_running`."""
        found = self._inspected(name)
        if _pid(found) is None:
            raise _not_running(name)
        driver = field_of(found, "podman", "GraphDriver", "Data") or {}
        return str(driver.get("MergedDir") or found.get("Rootfs") or self._mounted(_id(found)))

    def shifts(self, name: str) -> bool:
        """Say whether the container has a user namespace of its own, running or not."""
        found = self._inspected(name)
        host = found.get("HostConfig") or {}
        return bool(found.get("IDMappings") or host.get("IDMappings") or host.get("UsernsMode"))

    def refuse_without_memory(self, name: str, root: str) -> None:
        """Raise `shadowed` unless the container was made with root mounted as its memory."""
        mounts = items_of(self._inspected(name).get("Mounts") or [], "podman")
        shown = {
            os.path.realpath(str(each.get("Source")))
            for each in mounts
            if each.get("Destination") == MOUNT_POINT
        }
        if shown != {root}:
            raise ColibriError(
                "shadowed",
                f"container '{name}' was made without its memory at {MOUNT_POINT}",
                hint=f"make it anew, with {_memory_mount(root)}; colibri jail create does",
            )

    def pid_of(self, name: str) -> int | None:
        """Return the host's number of the container's first process."""
        return _pid(self._inspected(name))

    def run(
        self, name: str, argv: Sequence[str], owner: Owner, *, timeout_seconds: float = 30.0
    ) -> Ran:
        """Run argv as owner by `podman exec`; the environment is the container's own.

        Podman's helper outlives podman, so what is over its time is found by a mark in its
        environment, within this container only, and killed.
        """
        pid, mark, line = self._entrance(name, owner)
        try:
            ran = self._podman.tried(
                *line,
                *argv,
                timeout_seconds=timeout_seconds,
                max_output_bytes=_MAX_OUTPUT_BYTES,
            )
        except ColibriError:
            marked.kill(pid, mark)
            raise
        if ran.overflow:
            marked.kill(pid, mark)
        return Ran(ran.status, ran.stdout, ran.stderr)

    def attach(self, name: str, argv: Sequence[str], owner: Owner) -> int:
        """Run argv as owner by `podman exec`, streams and signals passed through.

        Whatever carries its mark is killed when it ends; if we are killed, it stays until the
        container is stopped.
        """
        pid, mark, (verb, *line) = self._entrance(name, owner)

        def pass_on(number: int) -> None:
            marked.kill(pid, mark, number)

        try:
            return attached(
                [self._podman.located(), verb, "--interactive", *line, *argv],
                env=self._podman.environment,
                pass_on=pass_on,
            )
        finally:
            marked.kill(pid, mark)

    def _entrance(self, name: str, owner: Owner) -> tuple[int, str, Sequence[str]]:
        """Return the container's process, a new mark, and the command line up to the program."""
        user = who_runs(owner) or owner
        found = self._inspected(name)
        pid = _pid(found)
        if pid is None:
            raise _not_running(name)
        mark = f"COLIBRI_RUN={secrets.token_hex(16)}"
        line = ["exec", f"--user={user.uid}:{user.gid}", "--workdir=/", f"--env={mark}"]
        return pid, mark, [*line, _id(found)]

    def _inspected(self, name: str) -> dict[str, Any]:
        """Return what podman knows of the container of exactly this name.

        It also takes the beginning of an id for a name: an answer about another one is none.
        """
        names.jail_name(name)
        ran = self._podman.tried("container", "inspect", "--format=json", "--", name)
        if ran.status != 0:
            if _UNKNOWN in ran.stderr.lower():
                raise _not_found(name)
            raise programs.failed("podman", ran)
        whole = items_of(programs.parsed("podman", ran.stdout), "podman")
        exact = [each for each in whole if isinstance(each, dict) and each.get("Name") == name]
        if len(exact) != 1:
            raise _not_found(name)
        return exact[0]

    def _mounted(self, container: str) -> str:
        """Return where a storage driver without a merged directory has the root."""
        for each in items_of(self._podman.document("mount", "--format=json"), "podman"):
            if each.get("id") == container:
                return str(field_of(each, "podman", "mountpoint"))
        raise ColibriError("engine_failed", "podman does not say where the container's root is")


def _memory_mount(root: str) -> str:
    return f"--mount=type=bind,source={root},destination={MOUNT_POINT}"


def _id(found: dict[str, Any]) -> str:
    return str(field_of(found, "podman", "Id"))


def _pid(found: dict[str, Any]) -> int | None:
    state = field_of(found, "podman", "State")
    pid = state.get("Pid")
    return pid if state.get("Running") and isinstance(pid, int) and pid > 1 else None


def _in_its_own_namespace() -> dict[str, str]:
    """Return what `podman unshare` told us, and podman must know: whose it is, and where."""
    known = {name: text for name, text in os.environ.items() if name in _UNSHARED}
    if _ROOTLESS not in known or Path("/proc/self/uid_map").read_text().split() == _ALL_IDS:
        return {}
    return known


def _runtime_dir() -> str:
    path = Path("/run/user", str(os.geteuid()))
    return str(path) if os.geteuid() != 0 and path.is_dir() else ""


def _not_found(name: str) -> ColibriError:
    return ColibriError("jail_not_found", f"podman has no container '{name}'")


def _not_running(name: str) -> ColibriError:
    return ColibriError(
        "jail_not_running",
        f"container '{name}' does not run, and has no root to write to",
        hint=f"colibri jail start {name}",
    )
