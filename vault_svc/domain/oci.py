"""What an OCI runtime tells its hooks: the state on stdin, and the bundle's config.json.

Source: OCI runtime specification 1.0.2, chapters runtime (state) and config (root, annotations).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from vault_svc.errors import ColibriError

ANNOTATION: Final = "colibri.jail"
MAX_STATE_BYTES: Final = 256 * 1024
MAX_CONFIG_BYTES: Final = 4 * 1024 * 1024
# When createRuntime hooks run: runc says creating, crun created.
_MOMENTS: Final = frozenset({"creating", "created"})


@dataclass(frozen=True, slots=True)
class State:
    """A container that is being made: its first process, its bundle, its jail's name if any."""

    pid: int
    bundle: str
    jail: str | None


def state(text: bytes) -> State:
    """Read a container's state; raise `usage` for anything a runtime would not say."""
    whole = _document(text, "the state on stdin", MAX_STATE_BYTES)
    pid, bundle = whole.get("pid"), whole.get("bundle")
    if whole.get("status") not in _MOMENTS:
        raise _wrong("the state on stdin", "is not of a container that is being created")
    if not isinstance(pid, int) or isinstance(pid, bool) or not 1 < pid < 2**31:
        raise _wrong("the state on stdin", "has no process number")
    if not isinstance(bundle, str) or not _is_canonical(bundle):
        raise _wrong("the state on stdin", "has no absolute canonical bundle")
    return State(pid, bundle, _jail(whole, "the state on stdin"))


def root_path(text: bytes, said: State) -> str:
    """Return the absolute root of the bundle's config.json; raise `usage`, `jail_root_mismatch`.

    The jail's name must stand there as it does in the state.
    """
    what = "the bundle's config.json"
    whole = _document(text, what, MAX_CONFIG_BYTES)
    root = whole.get("root")
    path = root.get("path") if isinstance(root, dict) else None
    if not isinstance(path, str) or not path:
        raise _wrong(what, "names no root")
    path = path if path.startswith("/") else f"{said.bundle}/{path}"
    if not _is_canonical(path):
        raise _wrong(what, "has a root that is no canonical path")
    if _jail(whole, what) != said.jail:
        raise ColibriError(
            "jail_root_mismatch",
            f"{what} and the state do not name the same jail",
            hint=f"set the annotation {ANNOTATION} before the container is made",
        )
    return path


def _document(text: bytes, what: str, max_bytes: int) -> dict[str, Any]:
    if len(text) > max_bytes:
        raise _wrong(what, f"has more than {max_bytes} bytes")
    try:
        whole = json.loads(text.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _wrong(what, "is no JSON document") from None
    if not isinstance(whole, dict) or not isinstance(whole.get("ociVersion"), str):
        raise _wrong(what, "is no OCI document")
    return whole


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError  # two readers could take it for two things
    return found


def _no_constant(text: str) -> None:
    raise ValueError(text)


def _jail(whole: Mapping[str, Any], what: str) -> str | None:
    annotations = whole.get("annotations")
    if annotations is None:
        return None
    if not isinstance(annotations, dict):
        raise _wrong(what, "has annotations that are none")
    name = annotations.get(ANNOTATION)
    if name is not None and not isinstance(name, str):
        raise _wrong(what, f"has an annotation {ANNOTATION} that is no text")
    return name


def _is_canonical(path: str) -> bool:
    parts = path.split("/")
    return path.startswith("/") and "\0" not in path and not {"", ".", ".."} & set(parts[1:])


def _wrong(what: str, why: str) -> ColibriError:
    return ColibriError("usage", f"{what} {why}", hint="an OCI runtime calls this, as its hook")
