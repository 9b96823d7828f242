"""What came of an act in another process, as plain data: no class is named in it, none is made.

Of a fault of ours only its class is told: the rest could hold a value.
"""

from __future__ import annotations

import json
from typing import Any, Final

from vault_svc.domain.receipt import Placed
from vault_svc.errors import ColibriError
from vault_svc.hazmat.confine_error import Reason, Refused

MOST_BYTES: Final = 4 << 20


class FaultError(Exception):
    """A fault of ours in another process."""


def made(what: object) -> bytes:
    """Return what an act returned: a Placed, or what JSON has."""
    if not isinstance(what, Placed):
        return _bounded(["plain", what])
    files = {name: list(identity) for name, identity in what.files.items()}
    facts = [what.dev, what.ino, what.mtime_ns, what.size, what.displaced]
    return _bounded(["placed", *facts, files])


def failed(error: BaseException) -> bytes:
    """Return what an act raised."""
    if isinstance(error, Refused):
        where = [error.component, error.target, error.detail, error.errno]
        return _bounded(["refused", str(error.reason), *where])
    if isinstance(error, ColibriError):
        return _bounded(["error", error.code, error.message, error.hint, error.tenant])
    if isinstance(error, OSError) and error.errno is not None:
        return _bounded(["system", error.errno, error.strerror])
    return _bounded(["fault", type(error).__name__])


def read(said: bytes) -> Any:
    """Return what the act returned, or raise what it raised; FaultError for nonsense."""
    try:
        kind, *facts = json.loads(said)
        answer = _READ[kind](*facts)
    except (ValueError, TypeError, KeyError):
        raise FaultError("the process that writes answered nonsense") from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _bounded(whole: list[object]) -> bytes:
    try:
        said = json.dumps(whole).encode()
    except (TypeError, ValueError):
        return json.dumps(["fault", "an answer that is no data"]).encode()
    return said if len(said) <= MOST_BYTES else json.dumps(["fault", "too much"]).encode()


def _plain(what: object) -> object:
    return what


def _placed(
    dev: int, ino: int, mtime_ns: int, size: int, displaced: str, files: dict[str, list[int]]
) -> Placed:
    found = {name: (device, inode) for name, (device, inode) in files.items()}
    return Placed(dev, ino, mtime_ns, size, displaced, found)


def _refused(reason: str, component: str, target: str, detail: str, err: int) -> Refused:
    return Refused(Reason(reason), component, target=target, detail=detail, err=err)


def _error(code: str, message: str, hint: str, tenant: str) -> ColibriError:
    return ColibriError(code, message, hint=hint, tenant=tenant)


def _fault(name: str) -> FaultError:
    return FaultError(f"{name}, in the process that writes")


_READ: Final[dict[str, Any]] = {
    "plain": _plain,
    "placed": _placed,
    "refused": _refused,
    "error": _error,
    "system": OSError,
    "fault": _fault,
}
