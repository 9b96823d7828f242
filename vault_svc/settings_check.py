"""The values that a setting may have."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from vault_svc.domain.dotenv_profiles import PROFILES
from vault_svc.errors import ColibriError
from vault_svc.settings import Settings

_DATABASES: Final = ("sqlite:", "postgresql:", "postgresql+")


def checked(settings: Settings) -> Settings:
    """Return the settings; raise `usage` for the first value that is out of its range."""
    _check_paths(settings)
    for field in fields(Settings):
        _check_number(field.name, getattr(settings, field.name))
    if not settings.host or not settings.host.isprintable():
        raise wrong("setting 'host' is no name", "leave it out for the host's name")
    if settings.walk not in {"auto", "openat2", "portable"}:
        raise wrong("setting 'walk' takes auto, openat2 or portable", "leave it out")
    if settings.second_layer not in {"auto", "require", "off"}:
        raise wrong("setting 'second_layer' takes auto, require or off", "leave it out")
    if settings.unregistered_jails not in {"start", "refuse"}:
        raise wrong("setting 'unregistered_jails' takes start or refuse", "leave it out")
    if settings.reload_command and not Path(settings.reload_command).is_absolute():
        raise wrong("setting 'reload_command' is not an absolute path", "write the whole path")
    _check_engines(settings)
    if settings.db_url and not settings.db_url.startswith(_DATABASES):
        raise wrong(
            "setting 'db_url' names a database colibri does not know", " or ".join(_DATABASES)
        )
    if settings.default_profile not in PROFILES:
        raise wrong("setting 'default_profile' is no profile", "one of: " + ", ".join(PROFILES))
    return settings


def _check_paths(settings: Settings) -> None:
    for name in ("daemon_data_dir", "db_path", "jail_root_base", "memory_base"):
        value = getattr(settings, name)
        paths = value if isinstance(value, tuple) else (value,)
        if not paths or not all(Path(path).is_absolute() for path in paths):
            raise wrong(f"setting '{name}' is not an absolute path", "write the whole path")
        if not all(path.isprintable() for path in paths):
            raise wrong(f"setting '{name}' has characters that cannot be shown", "rename it")
    if os.path.normpath(settings.memory_base).strip("/") == "":
        raise wrong("setting 'memory_base' is the root of the file system", "go below it")
    if os.path.normpath(settings.daemon_data_dir).strip("/") == "":
        raise wrong("setting 'daemon_data_dir' is the root of the file system", "go below it")


def _check_engines(settings: Settings) -> None:
    if settings.bastille_kind not in {"thin", "thick", "vnet"}:
        raise wrong("setting 'bastille_kind' takes thin, thick or vnet", "leave it out")
    if not all(Path(part).is_absolute() for part in settings.engine_path.split(":")):
        raise wrong("setting 'engine_path' is not absolute", "whole paths, separated by :")


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    # The owner 2**32 - 1 is what chown(2) takes for "leave it as it is".
    least, most = (0, 2**32 - 2) if "owner" in name else (1, 2**40)
    most = 64 if name == "provision_processes" else most
    if not least <= value <= most:  # nor is NaN
        raise wrong(f"setting '{name}' is not from {least} to {most}", "leave it out")


def wrong(message: str, hint: str) -> ColibriError:
    """Return the refusal of a setting, or of where it was read."""
    return ColibriError("usage", message, hint=hint)
