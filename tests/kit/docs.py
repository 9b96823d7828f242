"""The README's tables as the code has them: the tests compare, people copy from a red test."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from tests.readers.promises import PROMISES
from vault_svc.errors import CODES
from vault_svc.settings import Settings, defaults

ROOT = Path(__file__).resolve().parents[2]
DATA = "/DATA"
BY_ACCOUNT = {
    "host": "the host's name",
    "default_owner_uid": "1000 as root, else your own",
    "default_owner_gid": "1000 as root, else your own",
    "provision_processes": "two a processor, at most 4",
    "daemon_data_dir": "`/var/lib/colibri`",
}


def rows(page: str, heading: str) -> list[list[str]]:
    """Return the cells of the first table after a heading, without its head."""
    section = (ROOT / page).read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def settings() -> dict[str, str]:
    """Return each setting's default as the README writes it."""
    values = defaults(DATA)
    return {each.name: _default(each.name, values[each.name]) for each in fields(Settings)}


def _default(name: str, value: Any) -> str:
    if name in BY_ACCOUNT:
        return BY_ACCOUNT[name]
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, (tuple, frozenset)):
        value = ":".join(value)
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return f"`{text.replace(DATA, '<data dir>')}`" if text else "none"


def codes() -> list[list[str]]:
    """Return status, code, meaning and whether trying again helps."""
    return [
        [str(code.status), f"`{name}`", code.meaning, "yes" if code.retryable else ""]
        for name, code in CODES.items()
    ]


def readers() -> dict[str, str]:
    """Return the readers each profile promises."""
    return {f"`{profile}`": ", ".join(names) for profile, names in PROMISES.items()}


def links(page: str) -> list[str]:
    """Return the relative targets a page points at."""
    text = (ROOT / page).read_text()
    return [target for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in target]
