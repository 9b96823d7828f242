"""The port `HostFiles` over hazmat."""

from __future__ import annotations

from typing import Final

from vault_svc.hazmat import hostfiles, jail_view

_UNSAFE: Final = "unsafe_base"
_MAX_BYTES: Final = 4 * 1024 * 1024
# Other programs' files: anybody may read them, nobody else may write them.
_MODES: Final = frozenset(range(0o1000)) - {mode for mode in range(0o1000) if mode & 0o022}


class OperatorFiles:
    """Files on a way that nobody but root and we can change."""

    def __init__(self, *, max_bytes: int = _MAX_BYTES) -> None:
        """Take the most bytes that are read."""
        self._max_bytes = max_bytes

    def read(self, path: str, *, container: int | None = None) -> bytes | None:
        """Return the content of a regular file; None where there is none.

        container: podman gives a bundle's directory to the root of the container's own user
        namespace, who from inside has no way to it; the file must be root's all the same.
        """
        directory, _, name = path.rpartition("/")
        also = () if container is None else jail_view.root_outside(container)
        try:
            with hostfiles.directory(directory or "/", _UNSAFE, also=also) as parent:
                return hostfiles.read_at(
                    parent, name, _UNSAFE, max_bytes=self._max_bytes, modes=_MODES
                )
        except FileNotFoundError:
            return None

    def write(self, path: str, content: bytes) -> None:
        """Put content there in one durable step, 0644; make missing directories."""
        directory, _, name = path.rpartition("/")
        parts = hostfiles.split(directory or "/", _UNSAFE)
        for depth in range(1, len(parts) + 1):
            hostfiles.make_directory("/" + "/".join(parts[:depth]), _UNSAFE, 0o755)
        try:
            with hostfiles.directory(directory or "/", _UNSAFE) as parent:
                hostfiles.sweep_at(parent, f".{name}")
                hostfiles.replace_at(parent, name, content, 0o644)
        except OSError as error:
            raise hostfiles.explain(error, _UNSAFE, path) from error

    def remove(self, path: str) -> None:
        """Delete the file durably if it is there."""
        directory, _, name = path.rpartition("/")
        try:
            with hostfiles.directory(directory or "/", _UNSAFE) as parent:
                hostfiles.remove_at(parent, name)
        except FileNotFoundError:
            return
        except OSError as error:
            raise hostfiles.explain(error, _UNSAFE, path) from error
