"""Render a collection as an .env file that its promised readers read back byte for byte."""

from __future__ import annotations

from typing import Final

from vault_svc.domain import names
from vault_svc.domain.dotenv_import import parse_import
from vault_svc.domain.dotenv_parse import parse
from vault_svc.domain.dotenv_profiles import PROFILES, Profile, is_bare
from vault_svc.domain.secret import SecretSet
from vault_svc.errors import ColibriError, printable

__all__ = ["PROFILES", "parse", "parse_given", "parse_own", "render", "warnings"]

MAX_NAMED: Final = 8
"""How many variables one message names before it only counts the rest."""


def render(values: SecretSet, profile: str, *, allowed: frozenset[str] = frozenset()) -> bytes:
    """Return the file: a constant header, then `NAME=value` sorted by name, UTF-8, LF, final LF.

    The same values give the same bytes, whatever their order; the bytes are read back by
    `parse` before they are returned. allowed: names policy lets through.
    Raises `usage` (no such profile), `secret_name_refused`, `secret_value_unrepresentable`
    naming every refused variable (the first MAX_NAMED of them) and never a value.
    """
    chosen = _profile(profile)
    plain = {
        names.variable(name, allowed=allowed): values.values[name].reveal()
        for name in values.names()
    }
    _refuse_unrepresentable(plain, profile)
    lines = [chosen.header, *(f"{name}={chosen.write(plain[name])}" for name in plain)]
    data = ("\n".join(lines) + "\n").encode()
    if parse(data, profile) != plain:
        raise ColibriError(
            "internal", f"profile '{profile}' wrote what its own grammar reads differently"
        )
    return data


def parse_own(data: bytes) -> dict[str, str]:
    """Return the variables of a file that `render` wrote, in the profile its header names.

    Raises `internal` for anything else; callers prove first that the bytes are ours.
    """
    profile = _named_by_header(data)
    if profile is None:
        raise ColibriError("internal", "the file has no header of any profile")
    return parse(data, profile)


def parse_given(data: bytes) -> dict[str, str]:
    """Return the variables of a file an operator hands over: one that people wrote, or `render`.

    Raises `usage` and the codes of `parse_import`.
    """
    profile = _named_by_header(data)
    if profile is None:
        return parse_import(data)
    try:
        found = parse(data, profile)
    except ColibriError as error:
        raise ColibriError(
            "usage",
            error.message,
            hint=f"its header says that colibri wrote it as profile {profile}; without that line"
            " it is read as text that people wrote",
        ) from None
    return {names.variable(name): value for name, value in found.items()}


def _named_by_header(data: bytes) -> str | None:
    header = data.partition(b"\n")[0]
    return next((n for n, profile in PROFILES.items() if profile.header.encode() == header), None)


def warnings(values: SecretSet, profile: str) -> tuple[str, ...]:
    """Return one line for each thing that is right for the promised readers and not for others.

    Lines name variables, never values. Raises `usage` for an unknown profile.
    """
    _profile(profile)
    plain = {name: values.values[name].reveal() for name in values.names()}
    found = []
    if profile == "dotenv" and (hit := [n for n, v in plain.items() if "$" in v]):
        found.append(f"{_listed(hit)}: vite, next, bun and dotenv-expand expand a dollar sign")
    if profile in {"universal", "dotenv"} and (
        hit := [n for n, v in plain.items() if v.startswith("encrypted:")]
    ):
        found.append(f"{_listed(hit)}: dotenvx keeps values that begin with encrypted: for itself")
    if profile == "docker-raw" and (hit := [n for n, v in plain.items() if not is_bare(v)]):
        found.append(f"{_listed(hit)}: a shell that sources this file would execute its content")
    return tuple(found)


def _profile(name: str) -> Profile:
    if name not in PROFILES:
        raise ColibriError(
            "usage",
            f"'{printable(name[:32])}' is not a profile",
            hint="one of " + ", ".join(PROFILES),
        )
    return PROFILES[name]


def _refuse_unrepresentable(plain: dict[str, str], profile: str) -> None:
    refused = {
        name: rule
        for name, value in plain.items()
        if (rule := PROFILES[profile].broken(name, value))
    }
    if not refused:
        return
    carriers = {name: _carriers(name, plain[name]) for name in refused}
    shown = [f"{n}: {refused[n]} ({_who_can(carriers[n])})" for n in list(refused)[:MAX_NAMED]]
    if len(refused) > MAX_NAMED:
        shown.append(f"and {len(refused) - MAX_NAMED} more")
    for_all = [each for each in PROFILES if _carries_all(each, plain)]
    raise ColibriError(
        "secret_value_unrepresentable",
        f"profile '{profile}' cannot carry " + "; ".join(shown),
        hint=_hint(for_all, stuck=[name for name in refused if not carriers[name]]),
    )


def _carries_all(profile: str, plain: dict[str, str]) -> bool:
    return all(PROFILES[profile].broken(name, value) is None for name, value in plain.items())


def _carriers(name: str, value: str) -> list[str]:
    return [profile for profile in PROFILES if PROFILES[profile].broken(name, value) is None]


def _who_can(carriers: list[str]) -> str:
    return "profiles that can: " + ", ".join(carriers) if carriers else "no profile can"


def _hint(for_all: list[str], stuck: list[str]) -> str:
    if stuck:
        return (
            f"keep {_listed(stuck)} in a file of its own, one file per secret, "
            f"or as base64 under another name such as {stuck[0][:124]}_B64"
        )
    # Never empty here: shell carries whatever any other profile carries.
    return f"set the tenant's profile to {' or '.join(for_all)}, or change the values"


def _listed(hit: list[str]) -> str:
    more = f" and {len(hit) - MAX_NAMED} more" if len(hit) > MAX_NAMED else ""
    return ", ".join(hit[:MAX_NAMED]) + more
