"""Engines of the operator's own: entry points of the group `colibri.jail_engines`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from vault_svc.domain import names
from vault_svc.errors import ColibriError
from vault_svc.ports.jail_engine import JailEngine

GROUP: Final = "colibri.jail_engines"
_MEMBERS: Final = tuple(name for name in vars(JailEngine) if not name.startswith("_"))


def found(taken: Collection[str]) -> dict[str, EntryPoint]:
    """Return the operator's engines by name; raise `usage` for a name twice or not its own."""
    known: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUP):
        if point.name in taken or point.name in known or not names.is_jail_name(point.name):
            raise ColibriError(
                "usage",
                f"an installed engine is called '{point.name[:40]}', which it cannot be",
                hint="small letters, and a name no other engine has; or uninstall it",
            )
        known[point.name] = point
    return known


def load(point: EntryPoint, bases: Sequence[str]) -> JailEngine:
    """Build an operator's engine; raise `engine_failed` for what cannot be one.

    Its code runs as we do: whoever can install packages for this Python is the operator.
    """
    try:
        made = point.load()(bases)
    except ColibriError:
        raise
    except Exception as error:  # noqa: BLE001 - foreign code; its words may hold anything
        reason = type(error).__name__
        raise _broken(point, f"it cannot be built ({reason})") from None
    missing = [name for name in _MEMBERS if not hasattr(made, name)]
    if missing:
        raise _broken(point, f"it has no {', '.join(missing)}")
    if made.name != point.name:
        raise _broken(point, "its name is another than its entry point's")
    engine: JailEngine = made
    return engine


def _broken(point: EntryPoint, why: str) -> ColibriError:
    return ColibriError(
        "engine_failed",
        f"the installed engine '{point.name}' is none: {why}",
        hint="mend or uninstall it; CONTRIBUTING.md says what an engine has",
    )
