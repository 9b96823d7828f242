"""What each refusal of the confined write is called, and the sentence a person can act on."""

from __future__ import annotations

import os
from typing import Final

from vault_svc.errors import ColibriError, printable
from vault_svc.hazmat.confine_error import Reason, Refused, refusal

_MAX_SHOWN: Final = 200
_READ_ONLY_HINT: Final = "remount it, or take away the flag or permission, then run again"

# Reason: code, what is wrong with {where} ({detail} and {errno} where known), what to do.
_WORDS: Final[dict[Reason, tuple[str, str, str]]] = {
    Reason.BAD_PATH: (
        "bad_path",
        "'{where}' is not a path colibri writes to",
        "write the canonical path as the jail sees it, for example /home/app/.env",
    ),
    Reason.SYMLINK: (
        "path_not_plain",
        "'{where}' is a symlink{target}; colibri follows none",
        "register the canonical path, without the link",
    ),
    Reason.NOT_A_DIRECTORY: (
        "path_not_plain",
        "'{where}' is not a directory{detail}",
        "register a path whose parents are plain directories",
    ),
    Reason.MISSING: (
        "path_missing",
        "the directory '{where}' does not exist",
        "create it in the jail, or set create_parents",
    ),
    Reason.CROSSES_MOUNT: (
        "crosses_mount",
        "'{where}' is on another mount than the jail's root",
        "deliver to a directory on the jail's own file system",
    ),
    Reason.ESCAPES: (
        "target_escapes_root",
        "'{where}' leads out of the jail",
        "look at what the jail put there",
    ),
    Reason.NOT_REGULAR: (
        "target_not_regular",
        "'{where}' is a directory; colibri never removes one",
        "move the directory away in the jail",
    ),
    Reason.PARENT_POLICY: (
        "unsafe_parent",
        "the directory '{where}' is in the hands of other users of the jail{detail}",
        "give it to the files' owner or to root, and let nobody else write there",
    ),
    Reason.TAMPERED: (
        "tampered",
        "'{where}' was changed while colibri worked on it{detail}",
        "look at what runs in the jail; treat the secrets as known to it",
    ),
    Reason.OWNER: (
        "owner_unmapped",
        "a file cannot be given to the owner{detail}",
        "register an owner that exists for this jail; only root may give files to others",
    ),
    Reason.NO_SPACE: (
        "no_space",
        "no space is left for '{where}'{errno}",
        "free space, inodes or quota, then run again",
    ),
    Reason.READ_ONLY: ("read_only", "'{where}' is on a read-only file system", _READ_ONLY_HINT),
    Reason.DENIED: (
        "read_only",
        "'{where}' may not be changed by colibri: immutable, append-only or no permission{errno}",
        _READ_ONLY_HINT,
    ),
    Reason.EXHAUSTED: ("busy", "the system has no more descriptors or memory{errno}", "run again"),
    Reason.IO: ("read_only", "the file system failed at '{where}'{errno}", "check the disk"),
    Reason.UNTRUSTED_BASE: (
        "unsafe_base",
        "'{where}', above the jail, is not safe{detail}{target}",
        "it must be a real directory of root (or yours) that nobody else may write",
    ),
    Reason.ROOT_MISSING: (
        "path_missing",
        "'{where}', on the way to the jail root, does not exist",
        "create the jail, or mount what it is on",
    ),
    Reason.ROOT_NOT_PLAIN: (
        "jail_root_not_plain",
        "the jail root '{where}' is not a plain directory{detail}{target}",
        "register the directory itself",
    ),
    Reason.ROOT_NOT_ALLOWED: (
        "jail_root_not_allowed",
        "the jail root '{where}' is not allowed{detail}",
        "jail roots lie strictly below a directory of COLIBRI_JAIL_ROOT_BASE",
    ),
    Reason.ROOT_MISMATCH: (
        "jail_root_mismatch",
        "'{where}' is not the directory that was registered{detail}",
        "if the jail was made anew, record it with update-tenant",
    ),
    Reason.SHADOWED: (
        "shadowed",
        "the jail sees something else at '{where}' than the host does{detail}",
        "a mount inside the jail hides it: unmount it there, or register another path",
    ),
    Reason.NO_MEMORY: (
        "shadowed",
        "the jail has not mounted its memory at '{where}'",
        "start it again; if it was made without it, make it anew: runbook secrets-in-memory.md",
    ),
    Reason.NOT_RUNNING: (
        "jail_not_running",
        "the jail cannot be looked into{detail}{errno}",
        "colibri jail start, then run again",
    ),
    Reason.NO_OPENAT2: (
        "helper_missing",
        "this kernel has no openat2 (Linux 5.6 and newer have)",
        "use a newer kernel, or accept the portable walk with allow_walk_fallback = true",
    ),
    Reason.OPENAT2_DENIED: (
        "helper_untrusted",
        "something on this host forbids openat2{errno}",
        "allow the call in the service's system call filter",
    ),
}


class spoken:  # noqa: N801 - reads as the block it is; a generator costs a fleet several times this
    """Turn a refusal of the lower layer into a ColibriError."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        """Raise what was refused in words."""
        if isinstance(error, Refused):
            raise said(error) from None
        if isinstance(error, OSError):  # a disk that fails where no walk expects it
            raise said(refusal(error, "")) from None


def said(refused: Refused) -> ColibriError:
    """Compose code, message and hint; names and link targets come from the tenant, so escaped."""
    code, text, hint = _WORDS[refused.reason]
    where = refused.component
    if refused.reason is not Reason.ROOT_NOT_ALLOWED:  # that one is shown as it was given
        where = "/" + where.removeprefix("/")
    message = text.format(
        where=_shown(where),
        target=f" to '{_shown(refused.target)}'" if refused.target else "",
        detail=f" ({_shown(refused.detail)})" if refused.detail else "",
        errno=f" ({os.strerror(refused.errno)})" if refused.errno else "",
    )
    return ColibriError(code, message, hint=hint)


def _shown(text: str) -> str:
    """Return tenant-made text for a message: escaped, and bounded."""
    return printable(text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "…")
