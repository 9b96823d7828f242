"""The hook's command lines without Typer, which takes longer to import than a delivery takes.

Only what is written plainly and whole is taken here; for anything else, help and mistakes
included, Typer's own command answers, so that there is one grammar and one set of words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cli.asked import Asked, OnFailure

_FAILING: Final = "--on-provision-failure"
_FORMS: Final = {
    "run": ((), {"--jail", "--root"}, {"--jail", "--root"}),
    "oci": ((), set[str](), set[str]()),
    "nspawn": (("jail",), {"--root"}, set[str]()),
    "bastille": (("jail",), {"--root"}, set[str]()),
}
"""For each form: its arguments, the options that take a value, and those there must be."""


def hook(words: Sequence[str]) -> tuple[str | None, Asked] | None:
    """Return the settings file and the call of a hook's plain command line, None for all others."""
    left = list(words)
    config = None
    if left[:1] == ["--config"]:
        config, left = (left[1] if len(left) > 1 else ""), left[2:]
    if len(left) < 2 or left[0] != "hook" or left[1] not in _FORMS or config == "":  # noqa: PLR2004
        return None
    asked = _asked(left[1], left[2:])
    return None if asked is None else (config, asked)


def _asked(form: str, words: list[str]) -> Asked | None:
    """Return the form's call, None where Typer must have a look."""
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
    if failing not in set(OnFailure):
        return None
    given = {name[2:]: value for name, value in found.items()} | dict(
        zip(arguments, plain, strict=True)
    )
    return Asked(form, on_failure=OnFailure(failing), as_json=as_json, **given)
