"""The files by which an engine calls the hook by itself, as text: nothing is written here."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from vault_svc.domain.oci import ANNOTATION
from vault_svc.errors import ColibriError

_OURS: Final = re.compile(r"colibri\W+jail\b|colibri hook install")
_BASTILLE: Final = "${JAIL_NAME}"


@dataclass(frozen=True, slots=True)
class Call:
    """How an engine is to call us: program, what stands before `hook`, settings, waiting time.

    by: the words that go before all of them.
    """

    program: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    environment: Mapping[str, str]
    timeout_seconds: int
    by: tuple[str, ...] = ()

    def argv(self, *form: str) -> list[str]:
        """Return the command line of a form of the hook."""
        return [*self.by, self.program, *self.before, "hook", *form, *self.after]


@dataclass(frozen=True, slots=True)
class HookFile:
    """A file of an engine's: absolute path, content, and what to do once it is there."""

    path: str
    content: str
    then: str


DIRECTORIES: Final = {
    "podman": "/etc/containers/oci/hooks.d",
    "nspawn": "/etc/systemd/system/systemd-nspawn@.service.d",
    "bastille": "/usr/local/bastille/templates/colibri/hook",
    "service": "/etc/systemd/system",
}
"""Where each engine looks, unless the operator says otherwise."""


def hook_file(engine: str, call: Call, directory: str | None = None) -> HookFile:
    """Return the file for an engine, or for the service; raise `usage` for one without a hook."""
    makers = {"podman": _podman, "nspawn": _nspawn, "bastille": _bastille, "service": _service}
    if engine not in makers:
        raise ColibriError(
            "usage", f"engine '{engine[:40]}' has no hook file", hint="one of: " + ", ".join(makers)
        )
    name, content, then = makers[engine](call)
    return HookFile(f"{(directory or DIRECTORIES[engine]).rstrip('/')}/{name}", content, then)


def is_ours(content: str) -> bool:
    """Say whether a file is one that we wrote, for whichever colibri and settings."""
    return _OURS.search(content) is not None


def _podman(call: Call) -> tuple[str, str, str]:
    """Return an oci-hooks(5) file that matches only containers with the annotation."""
    argv = call.argv("oci")
    hook: dict[str, object] = {"path": argv[0], "args": argv, "timeout": call.timeout_seconds}
    if call.environment:
        hook["env"] = [f"{name}={value}" for name, value in sorted(call.environment.items())]
    whole = {
        "version": "1.0.0",
        "hook": hook,
        "when": {"annotations": {f"^{re.escape(ANNOTATION)}$": ".*"}},
        "stages": ["createRuntime"],
    }
    then = f"podman create --name JAIL --annotation {ANNOTATION}=JAIL ..."
    return "colibri-hook.json", json.dumps(whole, indent=2) + "\n", then


def _service(call: Call) -> tuple[str, str, str]:
    """Return a unit for what answers hooks; each delivery may last as long as a hook may wait."""
    lines = ["# Written by colibri hook install service.", "[Unit]"]
    lines += ["Description=colibri: answers the hooks of jails that start"]
    lines += ["StartLimitIntervalSec=0", "[Service]"]  # settings get mended, whoever serves ends
    lines += _environment(call)
    command = " ".join(_word(part) for part in (call.program, *call.before, "hook", "serve"))
    lines += [f"ExecStart={command}", "Restart=always", "RestartSec=5"]
    lines += ["KillMode=mixed", "LimitCORE=0"]
    lines += [f"TimeoutStopSec={call.timeout_seconds}", "UMask=0077"]
    lines += ["[Install]", "WantedBy=multi-user.target"]
    then = "systemctl daemon-reload; systemctl enable --now colibri-hook"
    return "colibri-hook.service", "\n".join(lines) + "\n", then


def _environment(call: Call) -> list[str]:
    return [
        f"Environment={_quoted(f'{name}={value}')}"
        for name, value in sorted(call.environment.items())
    ]


def _nspawn(call: Call) -> tuple[str, str, str]:
    """Return a drop-in for systemd-nspawn@.service; the instance is the machine's name."""
    lines = ["# Written by colibri hook install nspawn.", "[Service]"]
    lines += _environment(call)
    command = " ".join(_word(part) for part in call.argv("nspawn"))
    lines.append(f"ExecStartPre={command} %i")
    return "colibri.conf", "\n".join(lines) + "\n", "systemctl daemon-reload"


def _bastille(call: Call) -> tuple[str, str, str]:
    """Return a Bastillefile that sets exec.created, which jail(8) runs before the jail's own."""
    parts = [*call.argv("bastille"), _BASTILLE]
    _refuse_odd(parts[:-1], call.environment)
    content = (
        "# Written by colibri hook install bastille. Apply it to a jail, then restart the jail:\n"
        "#   bastille template JAIL colibri/hook\n"
        f"CONFIG set exec.created {' '.join(parts)}\n"
    )
    return "Bastillefile", content, "bastille template JAIL colibri/hook"


def _word(part: str) -> str:
    """Quote one word of a command; systemd expands $ in it (systemd.service(5))."""
    plain = shlex.quote(part) == part and "%" not in part
    return part if plain else _quoted(part.replace("$", "$$"))


def _quoted(text: str) -> str:
    """Quote an assignment or word; systemd expands % everywhere (systemd.unit(5))."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    escaped = escaped.replace("\n", "\\n")  # a line of its own would be another setting
    return f'"{escaped}"'


def _refuse_odd(parts: Sequence[str], environment: Mapping[str, str]) -> None:
    """Refuse what would have to be quoted through template, jail.conf and sh."""
    plain = all(part and all(c.isalnum() or c in "._/:=-" for c in part) for part in parts)
    if environment or not plain:
        raise ColibriError(
            "usage",
            "a Bastille template carries no settings from the environment and no odd characters",
            hint="put the settings into colibri.toml",
        )
