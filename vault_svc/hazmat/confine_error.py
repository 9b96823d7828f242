"""What the confined write can refuse, as the lowest layer sees it: no codes, no sentences."""

from __future__ import annotations

import errno
from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """Why a step was refused; the adapter turns each into a stable code and a sentence."""

    BAD_PATH = "bad-path"
    SYMLINK = "symlink"
    NOT_A_DIRECTORY = "not-a-directory"
    MISSING = "missing"
    CROSSES_MOUNT = "crosses-mount"
    ESCAPES = "escapes"
    NOT_REGULAR = "existing-not-regular"
    PARENT_POLICY = "parent-policy"
    TAMPERED = "tampered"
    OWNER = "owner"
    NO_SPACE = "no-space"
    READ_ONLY = "read-only"
    DENIED = "denied"
    EXHAUSTED = "exhausted"
    IO = "io"
    UNTRUSTED_BASE = "untrusted-parent"
    ROOT_MISSING = "root-missing"
    ROOT_NOT_PLAIN = "bad-root"
    ROOT_NOT_ALLOWED = "root-not-allowed"
    ROOT_MISMATCH = "root-mismatch"
    NO_OPENAT2 = "no-openat2"
    OPENAT2_DENIED = "openat2-denied"
    SHADOWED = "shadowed"
    NO_MEMORY = "no-memory"
    NOT_RUNNING = "not-running"


class Refused(Exception):  # noqa: N818  a refusal is the expected answer to an attack
    """A refused step: reason, the offending component, a symlink's target, and the errno."""

    def __init__(
        self,
        reason: Reason,
        component: str = "",
        *,
        target: str = "",
        detail: str = "",
        err: int = 0,
    ) -> None:
        """Take component as a path relative to where the walk began, for the message."""
        super().__init__(reason, component, target, detail, err)
        self.reason = reason
        self.component = component
        self.target = target
        self.detail = detail
        self.errno = err


# FreeBSD's O_RESOLVE_BENEATH answers ENOTCAPABLE, O_NOFOLLOW answers EMLINK (open.2).
_ENOTCAPABLE: Final = 93
_ECAPMODE: Final = 94  # what a path of a process in capability mode answers (cap_enter.2)
_BY_ERRNO: Final = {
    errno.ENOSPC: Reason.NO_SPACE,
    errno.EDQUOT: Reason.NO_SPACE,
    errno.EFBIG: Reason.NO_SPACE,  # RLIMIT_FSIZE: Python ignores SIGXFSZ from the start
    errno.EROFS: Reason.READ_ONLY,
    errno.EACCES: Reason.DENIED,
    errno.EPERM: Reason.DENIED,
    errno.EXDEV: Reason.CROSSES_MOUNT,
    errno.EBUSY: Reason.CROSSES_MOUNT,  # rename and unlink answer EBUSY for a mount point
    errno.ENOENT: Reason.MISSING,
    errno.ESTALE: Reason.MISSING,
    errno.ENOTDIR: Reason.NOT_A_DIRECTORY,
    errno.ELOOP: Reason.SYMLINK,
    errno.EMLINK: Reason.SYMLINK,
    errno.ENAMETOOLONG: Reason.BAD_PATH,
    errno.EISDIR: Reason.NOT_REGULAR,
    errno.EMFILE: Reason.EXHAUSTED,
    errno.ENFILE: Reason.EXHAUSTED,
    errno.ENOMEM: Reason.EXHAUSTED,
    errno.EAGAIN: Reason.TAMPERED,
    _ENOTCAPABLE: Reason.ESCAPES,
    _ECAPMODE: Reason.DENIED,
}


def refusal(error: OSError, component: str) -> Refused:
    """Return the refusal an operating system error means at component."""
    number = error.errno or 0
    reason = _BY_ERRNO.get(number, Reason.IO)
    return Refused(reason, component, err=number)
