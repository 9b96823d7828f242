"""Runbook pages as programs: every sh block in order, and what each must have shown."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

RUNBOOKS = Path(__file__).resolve().parents[2] / "runbooks"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MARK = "=== block {} ==="


@dataclass
class Block:
    """Commands, and lines of which each must appear in their output (`…` stands for anything)."""

    commands: str
    expected: list[str]


def blocks(page: str) -> list[Block]:
    found: list[Block] = []
    for language, text in _FENCE.findall((RUNBOOKS / page).read_text()):
        if language == "sh":
            found.append(Block(text, []))
        elif language == "text":
            found[-1].expected += text.splitlines()
    return found


def run(page: list[Block], environment: Mapping[str, str], where: Path) -> list[str]:
    """Run the blocks in one shell that stops at the first failure; return each one's output."""
    script = "exec 2>&1\nset -eu\n"
    for number, block in enumerate(page):
        script += f"echo '{_MARK.format(number)}'\n{block.commands}"
    ran = subprocess.run(
        ["/bin/sh"],
        input=script,
        capture_output=True,
        text=True,
        env=environment,
        cwd=where,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-2000:]
    parts = re.split(re.escape(_MARK).replace(r"\{\}", r"\d+") + r"\n", ran.stdout)
    assert len(parts) == len(page) + 1
    return parts[1:]


def missing(block: Block, output: str) -> list[str]:
    """Return the expected lines that the output does not have, in whatever order."""
    lines = [" ".join(line.split()) for line in output.splitlines()]
    return [
        wanted
        for wanted in block.expected
        if not any(_matcher(wanted).fullmatch(line) for line in lines)
    ]


def _matcher(line: str) -> re.Pattern[str]:
    pieces = [re.escape(" ".join(piece.split())) for piece in line.split("…")]
    return re.compile(r" ?.*? ?".join(pieces))
