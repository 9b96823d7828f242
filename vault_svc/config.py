"""Settings, read once: file, environment, defaults; unknown keys are refused."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from vault_svc.errors import printable
from vault_svc.settings import Settings, default_data_dir, defaults
from vault_svc.settings_check import checked, wrong

_PREFIX: Final = "COLIBRI_"
# Contract variables that other parts read (contracts.md); known here so that they are no error.
_READ_ELSEWHERE: Final = frozenset(
    {"config", "daemon_socket", "vault_socket", "cost_mode", "mcp_write"}
)


def default_config_file() -> str:
    """Return where the settings file is looked for unless the operator names one."""
    if os.geteuid() == 0:
        base = "/usr/local/etc" if sys.platform.startswith("freebsd") else "/etc"
        return f"{base}/colibri/colibri.toml"
    from platformdirs import user_config_dir

    return str(Path(user_config_dir("colibri")) / "colibri.toml")


def load(environ: Mapping[str, str], config_file: str | None = None) -> Settings:
    """Return the settings; raise `usage` for unknown keys, wrong types and an unreadable file."""
    named = config_file or environ.get("COLIBRI_CONFIG", "")
    given = _from_file(Path(named or default_config_file()), required=bool(named))
    given |= _from_environment(environ)
    usual = defaults(str(given.get("daemon_data_dir", "")) or default_data_dir())
    values = {name: _typed(name, given.get(name, value), value) for name, value in usual.items()}
    return checked(Settings(**values))


def _from_file(path: Path, *, required: bool) -> dict[str, Any]:
    if str(path) == os.devnull:  # the usual way to say: none
        return {}
    try:
        text = _trusted_text(path)
    except FileNotFoundError:
        if required:
            raise wrong(f"there is no settings file '{path}'", "check --config") from None
        return {}
    except OSError as error:
        raise wrong(f"settings file '{path}' cannot be read: {error.strerror}", "mend it") from None
    except ValueError:
        raise wrong(f"settings file '{path}' is no TOML", "mend it") from None
    found = _parsed(text, path)
    known = {field.name for field in fields(Settings)} | _READ_ELSEWHERE
    for key in found:
        if key not in known:
            raise wrong(
                f"settings file '{path}' has an unknown key '{printable(key)}'",
                _nearest(key, known),
            )
    return found


def _parsed(text: str, path: Path) -> dict[str, Any]:
    import tomllib  # most hosts have no settings file

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise wrong(f"settings file '{path}' is no TOML: {error}", "mend it") from None


def _trusted_text(path: Path) -> str:
    """Read a settings file that nobody but root and us can change: it names bases and policy."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise wrong(f"settings file '{path}' is no regular file", "name a file")
        if status.st_uid not in {0, os.geteuid()} or status.st_mode & 0o022:
            raise wrong(
                f"settings file '{path}' can be changed by others",
                f"it must be yours or root's: chown it, chmod go-w '{path}'",
            )
        return file.read().decode()


def _nearest(key: str, known: Iterable[str]) -> str:
    close = get_close_matches(key, known, n=1)
    return f"did you mean {close[0]}?" if close else "see the README for the settings there are"


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    known = {field.name for field in fields(Settings)}
    given: dict[str, Any] = {}
    for variable, text in environ.items():
        if not variable.startswith(_PREFIX):
            continue
        key = variable.removeprefix(_PREFIX).lower()
        if key in known:
            given[key] = text
        elif key not in _READ_ELSEWHERE:
            raise wrong(
                f"environment variable '{printable(variable)}' is no setting of colibri",
                _nearest(key, known),
            )
    return given


_WORDS: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


def _typed(name: str, value: Any, default: Any) -> Any:
    if value is default:
        return value
    convert: Callable[[Any], Any]
    if isinstance(default, bool):
        convert = _as_bool
    elif isinstance(default, tuple | frozenset):
        kind, separator = type(default), ":" if isinstance(default, tuple) else ","
        convert = lambda v: kind(_as_list(v, separator))  # noqa: E731
    else:
        convert = _as_number(type(default)) if isinstance(default, int | float) else _as_text
    try:
        return convert(value)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise wrong(
            f"setting '{name}' has a value it cannot take",
            f"its default is {default!r}" if default else "see the README",
        ) from None


def _as_bool(value: Any) -> bool:
    return value if isinstance(value, bool) else _WORDS[str(value).lower()]


def _as_text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError
    return value


def _as_list(value: Any, separator: str) -> list[str]:
    items = value.split(separator) if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise TypeError
    return [item.strip() for item in items if item.strip()]


def _as_number(kind: type[int | float]) -> Callable[[Any], int | float]:
    def convert(value: Any) -> int | float:
        if isinstance(value, bool) or (kind is int and isinstance(value, float)):
            raise TypeError
        return kind(value)

    return convert
