"""The hook's command lines without Typer, which takes longer to import than a delivery takes.

Only what is written plainly and whole is taken here; for anything else, help and mistakes
included, Typer's own command answers, so that there is one grammar and one set of words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from cli import hooking
from cli.invocation import Session

if TYPE_CHECKING:
    from vault_svc.wiring import Services

_FAILING: Final = "--on-provision-failure"
_FORMS: Final = {
    "run": ((), {"--jail", "--root"}, {"--jail", "--root"}),
    "oci": ((), set[str](), set[str]()),
    "nspawn": (("machine",), {"--root"}, set[str]()),
    "bastille": (("jail",), {"--root"}, set[str]()),
}
"""For each form: its arguments, the options that take a value, and those there must be."""

Act = Callable[["Services"], None]


def hook(words: Sequence[str]) -> tuple[Session, Act] | None:
    """Return the run and what it does for a hook's plain command line, None for all others."""
    left = list(words)
    config = None
    if left[:1] == ["--config"]:
        config, left = (left[1] if len(left) > 1 else ""), left[2:]
    if len(left) < 2 or left[0] != "hook" or left[1] not in _FORMS or config == "":  # noqa: PLR2004
        return None
    given = _given(left[1], left[2:])
    if given is None:
        return None
    act = getattr(hooking, left[1])
    return Session(config), lambda services: act(services, **given)


def _given(form: str, words: list[str]) -> dict[str, Any] | None:
    """Return the form's arguments by name, None where Typer must have a look."""
    arguments, valued, needed = _FORMS[form]
    found: dict[str, str] = {}
    plain: list[str] = []
    as_json = False
    left = iter(words)
    for word in left:
        name, equals, value = word.partition("=")
        if word == "--json":
            as_json = True
        elif not word.startswith("-"):
            plain.append(word)
        elif name in {*valued, _FAILING} and name not in found:
            found[name] = value if equals else next(left, "")
        else:
            return None
    odd = any(not value or value.startswith("-") for value in found.values())
    failing = found.pop(_FAILING, "refuse")
    if odd or "" in plain or len(plain) != len(arguments) or needed - set(found):
        return None
    if failing not in set(hooking.OnFailure):
        return None
    options = {name[2:]: found.get(name) for name in valued}
    on_failure = hooking.OnFailure(failing)
    return {
        **dict(zip(arguments, plain, strict=True)),
        **options,
        "on_failure": on_failure,
        "as_json": as_json,
    }
