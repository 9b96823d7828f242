"""The error tree: stable code, one line, a hint, an exit status.

The table below is the only place where code, status and meaning meet; the README's table is
checked against it by a test.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, NamedTuple


class Code(NamedTuple):
    """An error code's exit status, meaning, and whether trying again later may help."""

    status: int
    meaning: str
    retryable: bool = False


CODES: Final[dict[str, Code]] = {
    "internal": Code(1, "a fault in colibri itself: please report"),
    "usage": Code(2, "wrong usage"),
    "no_collection": Code(3, "this tenant has no bucket: nothing to do"),
    "no_tenant_for_jail": Code(3, "no tenant is registered for this jail: nothing to do"),
    "helper_missing": Code(4, "a helper program is missing"),
    "helper_untrusted": Code(4, "a helper program is not the one that was recorded"),
    "helper_timeout": Code(4, "a helper program did not answer in time", retryable=True),
    "engine_failed": Code(4, "the jail engine's program refused or failed"),
    "tenant_reserved": Code(5, "this tenant id belongs to the platform"),
    "tenant_name_refused": Code(5, "not a tenant id"),
    "tenant_suspended": Code(5, "the tenant is suspended"),
    "tenant_offboarded": Code(5, "the tenant is offboarded for good"),
    "secret_name_refused": Code(5, "not a variable name, or one that changes how programs start"),
    "secret_ambiguous": Code(5, "the same variable twice"),
    "secret_value_unrepresentable": Code(5, "the tenant's profile cannot carry this value"),
    "secret_shared": Code(5, "an item belongs to more than one collection"),
    "credential_unsafe": Code(5, "a credential is kept where others could read or replace it"),
    "jail_name_refused": Code(5, "not a jail name"),
    "jail_root_mismatch": Code(5, "engine, registry and file system disagree about the jail root"),
    "jail_root_not_allowed": Code(5, "the jail root is not strictly below an allowed base"),
    "jail_root_not_plain": Code(5, "the jail root is not a plain directory"),
    "jail_nested": Code(5, "the jail root contains or lies in another jail's root"),
    "jail_not_running": Code(5, "the jail must run for this"),
    "unsafe_base": Code(5, "a directory above the jail could be changed by others"),
    "unsafe_parent": Code(5, "the directory of the file belongs to neither root nor the target"),
    "bad_path": Code(5, "not a path colibri writes to"),
    "path_not_plain": Code(5, "a component of the path is not a plain directory"),
    "path_missing": Code(5, "a directory of the path does not exist"),
    "target_escapes_root": Code(5, "the path leaves the jail"),
    "target_not_regular": Code(5, "a directory stands where the file should"),
    "crosses_mount": Code(5, "the path crosses a mount point"),
    "tampered": Code(5, "the tree was changed while colibri worked in it"),
    "shadowed": Code(5, "the jail sees another file there"),
    "owner_unmapped": Code(5, "the owner has no number in this jail, or may not be set"),
    "credential_missing": Code(6, "a credential is not there"),
    "source_unreachable": Code(6, "the source did not answer", retryable=True),
    "source_auth_failed": Code(6, "the source refused the credential"),
    "source_forbidden": Code(6, "the source refused this read"),
    "source_rate_limited": Code(6, "the source asks to slow down", retryable=True),
    "source_sealed": Code(6, "the source is sealed", retryable=True),
    "source_incomplete": Code(6, "the source's answer is not whole", retryable=True),
    "server_mismatch": Code(6, "not the configured server, or not the registered collection"),
    "collection_not_found": Code(6, "no such collection at the source"),
    "collection_ambiguous": Code(6, "two collections have this name"),
    "collection_empty": Code(6, "the collection is empty"),
    "secret_missing": Code(6, "a secret is deleted or destroyed at the source"),
    "lease_missing": Code(6, "what was read would never end: no lease, no certificate"),
    "lease_refused": Code(6, "the server could not make this lease", retryable=True),
    "tenant_not_found": Code(7, "no such tenant"),
    "tenant_exists": Code(7, "a tenant has this id already"),
    "jail_not_found": Code(7, "no such jail"),
    "jail_taken": Code(7, "the jail belongs to another tenant, or exists already"),
    "collection_taken": Code(7, "the collection belongs to another tenant"),
    "drift": Code(8, "delivered state differs from what was recorded"),
    "partial": Code(9, "some of many failed"),
    "busy": Code(10, "another process holds what this one needs", retryable=True),
    "hook_timeout": Code(10, "the delivery was not done in the hook's time", retryable=True),
    "no_space": Code(10, "no space left", retryable=True),
    "read_only": Code(10, "the file system is read-only", retryable=True),
    "audit_unwritable": Code(10, "the audit log cannot be written", retryable=True),
    "audit_broken": Code(10, "the audit log was edited, cut, reordered or deleted"),
    "registry_corrupt": Code(10, "the registry cannot be read"),
    "registry_newer": Code(10, "the registry was written by a newer colibri"),
    "interrupted": Code(130, "stopped by the operator", retryable=True),
}


HINTS: Final[dict[str, str]] = {
    "internal": "please report it",
    "usage": "colibri --help, and --help after the command",
    "helper_missing": "install it, or name it in the settings",
    "helper_timeout": "run it again; if it stays, look what the helper waits for",
    "engine_failed": "look at the jail with the engine's own commands",
    "credential_unsafe": "colibri doctor; only its owner may read or replace a credential",
    "credential_missing": "colibri doctor says which",
    "secret_value_unrepresentable": "encode it, as base64 for example, or shorten it",
    "secret_missing": "colibri secret list shows what there is",
    "source_incomplete": "run it again; nothing was changed",
    "server_mismatch": "check the source's address; nothing was delivered",
    "collection_not_found": "colibri secret set makes a collection",
    "collection_taken": "choose another name",
    "jail_not_found": "colibri jail list",
    "jail_not_running": "colibri jail start, then run it again",
    "owner_unmapped": "run colibri as root, or leave --owner out",
    "unsafe_base": "colibri doctor; let only root or yourself write above the jails",
    "path_missing": "make the directory, then run it again",
    "tampered": "stop the jail, look who changes its tree, then run it again",
    "busy": "run it again in a moment",
    "hook_timeout": "run it again; if it stays, raise the setting hook_timeout_seconds",
    "no_space": "free some space and run it again; nothing was lost",
    "read_only": "remount the file system read-write; nothing was lost",
}
"""What to do where the place that fails knows nothing more exact."""


class ColibriError(Exception):
    """A refusal or failure a person can act on; names things, never values."""

    def __init__(self, code: str, message: str, *, hint: str = "", tenant: str = "") -> None:
        """Take a code of `CODES`, one line of what is wrong with which thing, and what to do."""
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint or HINTS.get(code, "")
        self.tenant = tenant
        self.definition = CODES[code]

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to make it again in another process."""
        return partial(ColibriError, hint=self.hint, tenant=self.tenant), (self.code, self.message)

    @property
    def status(self) -> int:
        """The exit status."""
        return self.definition.status

    @property
    def retryable(self) -> bool:
        """Whether trying again later, with nothing changed, may help."""
        return self.definition.retryable

    def for_tenant(self, tenant_id: str) -> ColibriError:
        """Return the same error naming the tenant it happened to."""
        return ColibriError(self.code, self.message, hint=self.hint, tenant=tenant_id)

    def line(self) -> str:
        """Return the one line for stderr, without the leading `colibri: `."""
        hint = f" (hint: {self.hint})" if self.hint else ""
        return printable(f"{self.code}: {self.message}{hint}")


def not_initialised(where: str) -> ColibriError:
    """Return the error for a host without a state directory or registry."""
    return ColibriError(
        "usage", f"colibri is not initialised here: there is no '{where}'", hint="colibri init"
    )


def printable(text: str) -> str:
    """Return text with everything a terminal could act on shown as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
