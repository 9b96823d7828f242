"""Start-up of the command line: only the command that is asked for is built, without pydantic.

Typer reads the signature of every command there is, and has every parameter coerced by a pydantic
adapter: together that takes longer than most commands. Both ways round stay Typer's own for what
is not plain, so that help and refusals keep their words.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import typer

_KINDS: Final = (str, int, bool)
# Longer numbers are rare enough to be left to Typer, and none of these is too large for anything.
_DIGITS: Final = 9


def command(app: typer.Typer, words: Sequence[str]) -> Any:
    """Return what Typer makes of app for a command line; words are its arguments."""
    built = typer.main.get_command(_asked_for(app, words))
    for each in _family(built):
        each.get_params = _shortening(each.get_params)
    return built


def _asked_for(app: typer.Typer, words: Sequence[str]) -> typer.Typer:
    """Return app with the first word's command or group alone, or all of it for other words."""
    first = words[0] if words else ""
    commands = [info for info in app.registered_commands if info.name == first]
    groups = [info for info in app.registered_groups if info.name == first]
    if not commands and not groups:
        return app
    part = copy.copy(app)
    part.registered_commands, part.registered_groups = commands, groups
    return part


def _family(command: Any) -> Iterator[Any]:
    yield command
    for below in getattr(command, "commands", {}).values():
        yield from _family(below)


def _shortening(usual: Callable[[Any], list[Any]]) -> Callable[[Any], list[Any]]:
    def get_params(context: Any) -> list[Any]:
        parameters = usual(context)  # these and `--help`, which is made on the way
        for parameter in parameters:
            _shorten(parameter)
        return parameters

    return get_params


def _shorten(parameter: Any) -> None:
    descriptor = parameter.type_descriptor
    single = parameter.nargs == 1 and not getattr(parameter, "multiple", False)
    if single and descriptor.annotation in _KINDS and not descriptor.parameter_info.parser:
        short = _Plain(parameter, type(parameter).get_runtime_param)
        parameter.get_runtime_param = lambda: short


class _Plain:
    """Stands where Typer's adapter would, and has that one made only when it is needed."""

    def __init__(self, parameter: Any, usual: Callable[[Any], Any]) -> None:
        self._kind = parameter.type_descriptor.annotation
        self._least, self._most = parameter.min, parameter.max
        self._usual = usual

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return what the command gets for value."""
        if value is None or (self._kind is not int and isinstance(value, self._kind)):
            return value
        if self._kind is int and self._fits(str(value)):
            return int(value)
        return self._usual(param).coerce(value, param=param, ctx=ctx)

    def _fits(self, text: str) -> bool:
        if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
            return False
        return (self._least or 0) <= int(text) and (self._most is None or int(text) <= self._most)
