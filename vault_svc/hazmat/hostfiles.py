"""Host files reached by descriptors from `/`: credentials, the embedded store, jail bases.

Rule bent: raw descriptors instead of pathlib. Why that is safe: no name is resolved twice, every
component is opened with O_NOFOLLOW relative to the one before and judged on its descriptor, so
a directory somebody swaps after the check is not the one that is used.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Collection, Iterator
from typing import Final

from vault_svc.errors import ColibriError, printable
from vault_svc.hazmat.hidden_owners import is_ours_or_roots

_LOOK: Final = (
    getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
)  # O_PATH: directories on the way need not be readable by us
_LIST: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_PLAIN: Final = frozenset({errno.ELOOP, errno.EMLINK, errno.ENOTDIR})
_OWN_CODES: Final = {
    errno.ENOSPC: "no_space",
    errno.EDQUOT: "no_space",
    errno.EROFS: "read_only",
    errno.EMFILE: "busy",
    errno.ENFILE: "busy",
    errno.ENOMEM: "busy",
}
_TEMPORARY: Final = ".tmp-"
PRIVATE_MODES: Final = frozenset({0o600, 0o400})


def explain(error: OSError, code: str, what: str) -> ColibriError:
    """Return the error for what, with the code of a full or read-only disk where it is that."""
    reason = os.strerror(error.errno) if error.errno else type(error).__name__
    return ColibriError(_OWN_CODES.get(error.errno or 0, code), f"{printable(what)}: {reason}")


def _refuse(code: str, path: str, why: str, hint: str = "") -> ColibriError:
    return ColibriError(code, f"'{printable(path)}' {why}", hint=hint)


def split(path: str, code: str) -> tuple[str, ...]:
    """Return the components of an absolute host path; raise code for `.`, `..`, `//` or NUL."""
    if path == "/":
        return ()
    parts = tuple(path[1:].split("/"))
    if not path.startswith("/") or "\0" in path or any(p in {"", ".", ".."} for p in parts):
        raise _refuse(code, path, "is not a plain absolute path", "write it without . .. or //")
    return parts


def _judge(fd: int, shown: str, code: str, *, last: bool, also: Collection[int] = ()) -> None:
    state = os.fstat(fd)
    if state.st_uid not in also and not is_ours_or_roots(state):
        raise _refuse(code, shown, f"belongs to uid {state.st_uid}, not to us or root")
    # Sticky is enough on the way, because others cannot rename our entry; not where files stand.
    if state.st_mode & 0o022 and (last or not state.st_mode & stat.S_ISVTX):
        # `chmod go-w /tmp` would break the host: a shared directory is to be left alone.
        shared = state.st_mode & stat.S_ISVTX or state.st_uid != os.geteuid()
        hint = "choose a place below one that only root or you can write to"
        hint = hint if shared else f"chmod go-w '{printable(shown)}', or {hint}"
        raise _refuse(code, shown, "can be written to by others", hint)


def open_directory(path: str, code: str, *, also: Collection[int] = ()) -> int:
    """Return a descriptor of the directory at path, whose whole way others could not change.

    Every component must be a real directory that belongs to root or to our effective uid and
    that neither group nor others may write to; sticky ones (as `/tmp`) pass on the way, not as
    the last. also: uids that the last one may belong to besides. Raises code, or
    FileNotFoundError where a component is missing.
    """
    parts = split(path, code)
    fd = os.open("/", _LOOK if parts else _LIST)
    shown = "/"
    try:
        _judge(fd, shown, code, last=not parts)
        for number, part in enumerate(parts, start=1):
            last = number == len(parts)
            shown = "/" + "/".join(parts[:number])
            child = _step(fd, part, shown, code, _LIST if last else _LOOK)
            os.close(fd)
            fd = child
            _judge(fd, shown, code, last=last, also=also if last else ())
    except BaseException:
        os.close(fd)
        raise
    return fd


def _step(parent: int, name: str, shown: str, code: str, flags: int) -> int:
    try:
        return os.open(name, flags, dir_fd=parent)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _NOT_PLAIN:
            raise _refuse(code, shown, "is a symbolic link or no directory") from error
        raise explain(error, code, shown) from error


@contextlib.contextmanager
def directory(path: str, code: str, *, also: Collection[int] = ()) -> Iterator[int]:
    """Hold `open_directory(path, code)` open for a block."""
    fd = open_directory(path, code, also=also)
    try:
        yield fd
    finally:
        os.close(fd)


def make_directory(path: str, code: str, mode: int = 0o700) -> None:
    """Make the directory at path durably, of this mode, if its parent is there and it is not."""
    parts = split(path, code)
    with directory("/" + "/".join(parts[:-1]), code) as parent:
        try:
            os.mkdir(parts[-1], mode, dir_fd=parent)
            os.chmod(parts[-1], mode, dir_fd=parent)  # whatever the umask; parent is ours alone
        except FileExistsError:
            return
        except OSError as error:
            raise explain(error, code, path) from error
        os.fsync(parent)


def read_at(
    parent: int, name: str, code: str, *, max_bytes: int, modes: Collection[int] = PRIVATE_MODES
) -> bytes:
    """Return a private file's content: regular, ours or root's, of one of modes, in bounds.

    Raises code for anything else and FileNotFoundError when there is none.
    """
    try:
        fd = os.open(name, _READ, dir_fd=parent)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in _NOT_PLAIN:
            raise _refuse(code, name, "is a symbolic link") from error
        raise explain(error, code, name) from error
    try:
        _judge_file(os.fstat(fd), name, code, modes)
        return _read_all(fd, name, code, max_bytes)
    finally:
        os.close(fd)


def _judge_file(state: os.stat_result, name: str, code: str, modes: Collection[int]) -> None:
    if not stat.S_ISREG(state.st_mode):
        raise _refuse(code, name, "is no regular file")
    if state.st_uid not in {0, os.geteuid()}:
        raise _refuse(code, name, f"belongs to uid {state.st_uid}")
    mode = stat.S_IMODE(state.st_mode)
    if mode not in modes:
        raise _refuse(code, name, f"has mode {mode:04o}", f"chmod 0600 '{name}'")


def refuse_irregular(parent: int, name: str, code: str) -> None:
    """Raise code where something that is no regular file stands at name."""
    try:
        state = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(state.st_mode):
        raise _refuse(code, name, "is no regular file")


def refuse_foreign_program(path: str, code: str) -> None:
    """Raise code for a program that others could change or replace, or that is a link.

    Raises FileNotFoundError where there is none.
    """
    parts = split(path, code)
    with directory("/" + "/".join(parts[:-1]), code) as parent:
        state = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
    if not stat.S_ISREG(state.st_mode):
        raise _refuse(code, path, "is no regular file")
    if state.st_uid not in {0, os.geteuid()}:
        raise _refuse(code, path, f"belongs to uid {state.st_uid}")
    if state.st_mode & 0o022:
        raise _refuse(code, path, "can be written to by others", f"chmod go-w '{printable(path)}'")


def _read_all(fd: int, name: str, code: str, max_bytes: int) -> bytes:
    content = bytearray()
    while chunk := os.read(fd, min(1 << 20, max_bytes + 1 - len(content))):
        content += chunk
        if len(content) > max_bytes:
            raise _refuse(code, name, f"is larger than {max_bytes} bytes")
    return bytes(content)


def replace_at(parent: int, name: str, content: bytes, mode: int = 0o600) -> None:
    """Put content at name in one durable step: new inode, fsync, rename, fsync the directory."""
    temporary = f".{name}{_TEMPORARY}{secrets.token_hex(8)}"
    fd = os.open(temporary, _NEW, 0o600, dir_fd=parent)
    try:
        try:
            os.fchmod(fd, mode)
            _write_all(fd, content)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=parent)
        raise
    os.fsync(parent)


def _write_all(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def sweep_at(parent: int, prefix: str = ".") -> None:
    """Delete temporary files that a crash left; only while holding the directory's lock."""
    for name in os.listdir(parent):
        if name.startswith(prefix) and _TEMPORARY in name:
            os.unlink(name, dir_fd=parent)


def remove_at(parent: int, name: str) -> bool:
    """Delete name durably; return whether it was there."""
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return False
    os.fsync(parent)
    return True


@contextlib.contextmanager
def locked(parent: int, what: str, timeout_seconds: float) -> Iterator[None]:
    """Hold the directory's own lock (flock), which the kernel gives back if we die.

    parent must be a descriptor of its own for each holder. Raises `busy` naming what.
    """
    give_up = time.monotonic() + timeout_seconds
    while True:
        try:
            fcntl.flock(parent, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= give_up:
                raise ColibriError(
                    "busy", f"another process is changing {printable(what)}", hint="try again"
                ) from None
            time.sleep(0.01)
    try:
        yield
    finally:
        fcntl.flock(parent, fcntl.LOCK_UN)
