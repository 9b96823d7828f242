"""The hook as engines start it: `python -I -S hook_start.py DIRECTORY SECONDS COLIBRI WORD...`.

If `colibri hook serve` is there it delivers, and its answer is passed on; else this becomes the
command that stands after SECONDS, which has one second if the service took the call and let it lie.
Only what is built into the interpreter is imported: a jail waits for each import, and those of a
delivery take ten times as long as this.
"""

from __future__ import annotations

import _socket
import posix
import select
import time

SOCKET = "serve.sock"
MOST = 1 << 20
"""Bytes of stdin: one more is passed on, and refused there."""

_SPACES = ("mnt", "user", "pid")
_TAKEN = b"+"
_SIZES, _LONGEST = 3, 40
_PATIENCE = 4.0
"""Seconds in which a service that is alive has taken a call."""
_GRACE = 4.0
"""Seconds that its own limit is given more than ours."""
_MOST_SECONDS = 1e6
"""Seconds: the kernel's waits take no more than three weeks."""
_LAST = {b"COLIBRI_HOOK_TIMEOUT_SECONDS": b"1"}
"""For the command, where all of the time has gone by: the engine waits a little longer than we."""


def main(arguments: list[str]) -> int:
    """Return the exit status of whoever delivered."""
    directory, seconds, *command = arguments
    limit = float(seconds) + _GRACE
    changed: dict[bytes, bytes] = {}
    reads = _reads(command)
    try:
        said = _stdin(time.monotonic() + limit) if reads else None
    except TimeoutError:
        _write(2, f"colibri: hook_timeout: no answer within {seconds} seconds\n".encode())
        return 10
    try:
        lost = reads and said is None
        answer = None if lost else asked(directory, command, said or b"", limit)
    except TimeoutError:
        answer, changed = None, _LAST
    if answer is None:
        _become(command, said, changed)
        return 1
    status, stdout, stderr = answer
    _write(2, stderr)
    _write(1, stdout)
    return status


def _reads(command: list[str]) -> bool:
    """Say whether it is the form that reads stdin; a jail may have its name."""
    words = command[3:] if command[1:2] == ["--config"] else command[1:]
    return words[:2] == ["hook", "oci"]


def _stdin(until: float) -> bytes | None:
    """Return what stands on stdin; None for a terminal or nothing at all: the command has words."""
    said = b""
    try:
        if posix.isatty(0):
            return None
        while len(said) <= MOST and (chunk := _chunk(until)):
            said += chunk
    except TimeoutError:
        raise
    except OSError:
        return None
    return said


def _chunk(until: float) -> bytes:
    if not select.select([0], [], [], _left(until))[0]:
        raise TimeoutError
    return posix.read(0, MOST)


def _left(until: float) -> float:
    return min(max(until - time.monotonic(), 0.001), _MOST_SECONDS)


def asked(
    directory: str, command: list[str], said: bytes, limit: float
) -> tuple[int, bytes, bytes] | None:
    """Return what the service answers; None where there is none, or it leaves the work to us.

    Raises TimeoutError for one that took the call and did not answer within limit.
    """
    taken = False
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.settimeout(_PATIENCE)  # first: where the queue is full, even to connect waits
        if not _connected(connection, directory):
            return None
        head = "\0".join([*_circumstances(), "", *command]).encode("utf-8", "surrogateescape")
        _send(connection, b"%d %d\n%b%b" % (len(head), len(said), head, said))
        taken = connection.recv(1) == _TAKEN
        return _answer(connection, time.monotonic() + limit) if taken else None
    except TimeoutError:
        if taken:
            raise
        return None
    except OSError:
        return None
    finally:
        connection.close()


def _connected(connection: _socket.socket, directory: str) -> bool:
    """Connect by a name in the directory: a socket's whole path may be longer than there is room.

    Only we, or root, could have put it there: others may not even look into that directory.
    """
    before = posix.open(".", posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    try:
        flags = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
        place = posix.open(directory, flags)
        try:
            state = posix.fstat(place)
            if state.st_uid != posix.geteuid() or state.st_mode & 0o077:
                return False
            posix.fchdir(place)
        finally:
            posix.close(place)
        connection.connect(SOCKET)
        return True
    finally:
        posix.fchdir(before)
        posix.close(before)


def _circumstances() -> list[str]:
    """Return our settings, and by what a service sees whether it would do the same as we."""
    found = [
        f"{name.decode('utf-8', 'surrogateescape')}={value.decode('utf-8', 'surrogateescape')}"
        for name, value in posix.environ.items()
        if name.startswith(b"COLIBRI_")
    ]
    return [*found, *surroundings()]


def surroundings() -> list[str]:
    """Return which code this is, and which file systems, users and processes it sees.

    A service still runs the code it began with when colibri is installed anew; the hook of a
    rootless engine sees what others do not.
    """
    code, root = posix.stat(__file__), posix.stat("/")
    found = [f"@code={code.st_ino}.{code.st_mtime_ns}", f"@root={root.st_dev}.{root.st_ino}"]
    try:
        return found + [f"@{kind}={posix.readlink(f'/proc/self/ns/{kind}')}" for kind in _SPACES]
    except OSError:  # not Linux
        return found


def _send(connection: _socket.socket, whole: bytes) -> None:
    connection.sendall(whole)
    connection.shutdown(_socket.SHUT_WR)


def _answer(connection: _socket.socket, until: float) -> tuple[int, bytes, bytes] | None:
    """Return status, stdout and stderr; None for an answer that broke off."""
    said = b""
    while True:
        connection.settimeout(_left(until))
        chunk = connection.recv(MOST)
        if not chunk:
            return None
        said += chunk
        head, end, rest = said.partition(b"\n")
        sizes = head.split(b" ")
        if end and not (
            len(sizes) == _SIZES and all(map(bytes.isdigit, sizes)) and len(head) < _LONGEST
        ):
            return None
        if end:
            status, out, err = map(int, sizes)
            if len(rest) >= out + err:
                return status, rest[:out], rest[out : out + err]


def _write(descriptor: int, left: bytes) -> None:
    try:
        while left:
            left = left[posix.write(descriptor, left) :]
    except OSError:  # nobody reads it: the status tells
        pass


def _become(command: list[str], said: bytes | None, changed: dict[bytes, bytes]) -> None:
    """Replace this process; what was read from stdin is there to be read again."""
    if said is not None:
        posix.dup2(_read_again(said), 0)
    try:
        posix.execve(command[0], command, posix.environ | changed)
    except OSError as error:
        _write(2, f"colibri: the hook cannot start '{command[0]}': {error.strerror}\n".encode())


def _read_again(said: bytes) -> int:
    """Return a descriptor to read it from; a process that writes would be a child nobody awaits."""
    if hasattr(posix, "memfd_create"):
        made = posix.memfd_create("stdin")
        _write(made, said)
        posix.lseek(made, 0, 0)
        return made
    reading, writing = posix.pipe()
    posix.set_blocking(writing, False)  # what does not fit is cut, and then no whole state
    _write(writing, said)
    posix.close(writing)
    return reading
