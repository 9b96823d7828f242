"""Settings, read once: file, environment, defaults; unknown keys are refused."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from vault_svc.domain.dotenv_profiles import PROFILES
from vault_svc.errors import ColibriError, printable

DEFAULT_SOURCE_FILE: Final = "default-source"
_DATABASES: Final = ("sqlite:", "postgresql:", "postgresql+")
ENGINE_BASES: Final = (
    "/var/lib/containers/storage",
    "/var/lib/machines",
    "/usr/local/bastille/jails",
)
"""Where engines with a place of their own keep roots: podman(1), machinectl(1), bastille.conf."""

_PREFIX: Final = "COLIBRI_"
# Contract variables that other parts read (contracts.md); known here so that they are no error.
_READ_ELSEWHERE: Final = frozenset(
    {"config", "daemon_socket", "vault_socket", "cost_mode", "mcp_write"}
)


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting; environment names are the upper-case field names after `COLIBRI_`."""

    daemon_data_dir: str
    db_path: str
    db_url: str
    jail_root_base: tuple[str, ...]
    host: str
    host_key: str
    embedded_identity: str
    vaultwarden_credential: str
    vault_credential: str
    default_source: str
    default_engine: str
    podman_image: str
    podman_containers_conf: str
    podman_storage_conf: str
    nspawn_template: str
    bastille_jails_dir: str
    bastille_release: str
    bastille_kind: str
    bastille_address: str
    bastille_interface: str
    engine_path: str
    engine_timeout_seconds: float
    default_profile: str
    default_owner_uid: int
    default_owner_gid: int
    allowed_variables: frozenset[str]
    ignored_items: frozenset[str]
    shared_items: frozenset[str]
    allow_walk_fallback: bool
    create_parents: bool
    walk: str
    batch_size: int
    write_concurrency: int
    provision_processes: int
    known_way: frozenset[str]
    reload_command: str
    reload_timeout_seconds: float
    hook_timeout_seconds: float
    unregistered_jails: str
    second_layer: str
    memory_base: str
    memory_bytes: int
    lock_timeout_seconds: float
    db_busy_timeout_seconds: float
    max_value_bytes: int
    max_secrets_per_collection: int
    max_collection_bytes: int
    max_env_bytes: int
    receipts_kept: int
    audit_segment_bytes: int
    audit_segments_kept: int
    audit_reserve_bytes: int
    bw_path: str
    node_path: str
    bw_untested_version: str
    bw_transport: str
    bw_runtime_dir: str
    bw_timeout_seconds: float
    bw_lock_timeout_seconds: float
    bw_backoff_seconds: float
    bw_backoff_limit_seconds: float
    bw_max_output_bytes: int
    bw_max_memory_bytes: int
    bw_max_appdata_bytes: int
    vault_proxy: str
    vault_timeout_seconds: float
    vault_max_answer_bytes: int
    vault_concurrency: int
    vault_backoff_milliseconds: int
    vault_patience_seconds: float

    @property
    def tree_bases(self) -> tuple[str, ...]:
        """The bases of jails that colibri makes as plain trees: those that no engine owns."""
        owned = {*ENGINE_BASES, self.bastille_jails_dir}
        return tuple(base for base in self.jail_root_base if base not in owned)

    def inside(self, name: str) -> str:
        """Return the path of something kept in the data directory."""
        return str(Path(self.daemon_data_dir) / name)


def _defaults(data_dir: str) -> dict[str, Any]:
    root = os.geteuid() == 0
    return {
        "daemon_data_dir": data_dir,
        "db_path": str(Path(data_dir) / "colibri.sqlite"),
        "db_url": "",
        "jail_root_base": (str(Path(data_dir) / "jails"), *ENGINE_BASES),
        "host": os.uname().nodename,
        "host_key": "file:" + str(Path(data_dir) / "credentials" / "host.key"),
        "embedded_identity": "file:" + str(Path(data_dir) / "credentials" / "embedded.age"),
        "vaultwarden_credential": "file:" + str(Path(data_dir) / "credentials" / "vaultwarden"),
        "vault_credential": "file:" + str(Path(data_dir) / "credentials" / "vault"),
        "default_source": recorded_default_source(data_dir) or "embedded",
        "default_engine": "directory",
        "podman_image": "",
        "podman_containers_conf": "",
        "podman_storage_conf": "",
        "nspawn_template": "",
        "bastille_jails_dir": ENGINE_BASES[2],
        "bastille_release": "",
        "bastille_kind": "thin",
        "bastille_address": "inherit",
        "bastille_interface": "",
        "engine_path": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "engine_timeout_seconds": 60.0,
        "default_profile": "universal",
        "default_owner_uid": 1000 if root else os.geteuid(),
        "default_owner_gid": 1000 if root else os.getegid(),
        "allowed_variables": frozenset[str](),
        "ignored_items": frozenset[str](),
        "shared_items": frozenset[str](),
        "allow_walk_fallback": False,
        "create_parents": False,
        "walk": "auto",
        "batch_size": 64,
        "write_concurrency": 8,
        "provision_processes": min(2 * _processors(), 4),
        "known_way": frozenset[str](),
        "reload_command": "",
        "reload_timeout_seconds": 10.0,
        "hook_timeout_seconds": 60.0,
        "unregistered_jails": "start",
        "second_layer": "auto",
        "memory_base": "/run/colibri-memory",
        "memory_bytes": 16 * 1024 * 1024,
        "lock_timeout_seconds": 30.0,
        "db_busy_timeout_seconds": 10.0,
        "max_value_bytes": 131_000,
        "max_secrets_per_collection": 5_000,
        "max_collection_bytes": 8 * 1024 * 1024,
        "max_env_bytes": 8 * 1024 * 1024,
        "receipts_kept": 100,
        "audit_segment_bytes": 16 * 1024 * 1024,
        "audit_segments_kept": 64,
        "audit_reserve_bytes": 256 * 1024,
        "bw_path": "",
        "node_path": "",
        "bw_untested_version": "",
        "bw_transport": "serve",
        "bw_runtime_dir": "",
        "bw_timeout_seconds": 60.0,
        "bw_lock_timeout_seconds": 300.0,
        "bw_backoff_seconds": 20.0,
        "bw_backoff_limit_seconds": 90.0,
        "bw_max_output_bytes": 64 * 1024 * 1024,
        "bw_max_memory_bytes": 2 * 1024 * 1024 * 1024,
        "bw_max_appdata_bytes": 512 * 1024 * 1024,
        "vault_proxy": "",
        "vault_timeout_seconds": 20.0,
        "vault_max_answer_bytes": 32 * 1024 * 1024,
        "vault_concurrency": 8,
        "vault_backoff_milliseconds": 500,
        "vault_patience_seconds": 20.0,
    }


def recorded_default_source(data_dir: str) -> str:
    """Return the source that `source login --default` recorded in the data directory, or none."""
    try:
        text = Path(data_dir, DEFAULT_SOURCE_FILE).read_text("ascii").strip()
    except (OSError, ValueError):
        return ""
    return text if text.isalpha() else ""


def default_data_dir() -> str:
    """Return where state lives unless a setting says otherwise."""
    if os.geteuid() == 0:
        return "/var/db/colibri" if sys.platform.startswith("freebsd") else "/var/lib/colibri"
    from platformdirs import user_data_dir

    return user_data_dir("colibri")


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
    defaults = _defaults(str(given.get("daemon_data_dir", "")) or default_data_dir())
    values = {name: _typed(name, given.get(name, value), value) for name, value in defaults.items()}
    return _checked(Settings(**values))


def _from_file(path: Path, *, required: bool) -> dict[str, Any]:
    if str(path) == os.devnull:  # the usual way to say: none
        return {}
    try:
        text = _trusted_text(path)
    except FileNotFoundError:
        if required:
            raise _wrong(f"there is no settings file '{path}'", "check --config") from None
        return {}
    except OSError as error:
        raise _wrong(
            f"settings file '{path}' cannot be read: {error.strerror}", "mend it"
        ) from None
    except ValueError:
        raise _wrong(f"settings file '{path}' is no TOML", "mend it") from None
    found = _parsed(text, path)
    known = {field.name for field in fields(Settings)} | _READ_ELSEWHERE
    for key in found:
        if key not in known:
            raise _wrong(
                f"settings file '{path}' has an unknown key '{printable(key)}'",
                _nearest(key, known),
            )
    return found


def _parsed(text: str, path: Path) -> dict[str, Any]:
    import tomllib  # most hosts have no settings file

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _wrong(f"settings file '{path}' is no TOML: {error}", "mend it") from None


def _trusted_text(path: Path) -> str:
    """Read a settings file that nobody but root and us can change: it names bases and policy."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _wrong(f"settings file '{path}' is no regular file", "name a file")
        if status.st_uid not in {0, os.geteuid()} or status.st_mode & 0o022:
            raise _wrong(
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
            raise _wrong(
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
        raise _wrong(
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


def _processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _checked(settings: Settings) -> Settings:
    _check_paths(settings)
    for field in fields(Settings):
        _check_number(field.name, getattr(settings, field.name))
    if not settings.host or not settings.host.isprintable():
        raise _wrong("setting 'host' is no name", "leave it out for the host's name")
    if settings.walk not in {"auto", "openat2", "portable"}:
        raise _wrong("setting 'walk' takes auto, openat2 or portable", "leave it out")
    if settings.second_layer not in {"auto", "require", "off"}:
        raise _wrong("setting 'second_layer' takes auto, require or off", "leave it out")
    if settings.unregistered_jails not in {"start", "refuse"}:
        raise _wrong("setting 'unregistered_jails' takes start or refuse", "leave it out")
    if settings.reload_command and not Path(settings.reload_command).is_absolute():
        raise _wrong("setting 'reload_command' is not an absolute path", "write the whole path")
    _check_engines(settings)
    if settings.db_url and not settings.db_url.startswith(_DATABASES):
        raise _wrong(
            "setting 'db_url' names a database colibri does not know", " or ".join(_DATABASES)
        )
    if settings.default_profile not in PROFILES:
        raise _wrong("setting 'default_profile' is no profile", "one of: " + ", ".join(PROFILES))
    return settings


def _check_paths(settings: Settings) -> None:
    for name in ("daemon_data_dir", "db_path", "jail_root_base", "memory_base"):
        value = getattr(settings, name)
        paths = value if isinstance(value, tuple) else (value,)
        if not paths or not all(Path(path).is_absolute() for path in paths):
            raise _wrong(f"setting '{name}' is not an absolute path", "write the whole path")
        if not all(path.isprintable() for path in paths):
            raise _wrong(f"setting '{name}' has characters that cannot be shown", "rename it")
    if os.path.normpath(settings.memory_base).strip("/") == "":
        raise _wrong("setting 'memory_base' is the root of the file system", "go below it")
    if os.path.normpath(settings.daemon_data_dir).strip("/") == "":
        raise _wrong("setting 'daemon_data_dir' is the root of the file system", "go below it")


def _check_engines(settings: Settings) -> None:
    if settings.bastille_kind not in {"thin", "thick", "vnet"}:
        raise _wrong("setting 'bastille_kind' takes thin, thick or vnet", "leave it out")
    if not all(Path(part).is_absolute() for part in settings.engine_path.split(":")):
        raise _wrong("setting 'engine_path' is not absolute", "whole paths, separated by :")


def _check_number(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    # The owner 2**32 - 1 is what chown(2) takes for "leave it as it is".
    least, most = (0, 2**32 - 2) if "owner" in name else (1, 2**40)
    most = 64 if name == "provision_processes" else most
    if not least <= value <= most:  # nor is NaN
        raise _wrong(f"setting '{name}' is not from {least} to {most}", "leave it out")


def _wrong(message: str, hint: str) -> ColibriError:
    return ColibriError("usage", message, hint=hint)
