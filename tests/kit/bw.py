"""The real Bitwarden CLI from npm, pinned by version and integrity: newest, and one older.

2026.9.0 is the first that reports its key id after an unlock, which Vaultwarden answers with 404
(bw.md 4.3); 2026.8.0 is the last that does not. Both are driven, so both behaviours are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit import npm

NEWEST = "2026.9.0"
OLDER = "2026.8.0"
VERSIONS = (NEWEST, OLDER)
_LOCKS = Path(__file__).with_name("bw")


@dataclass(frozen=True)
class Bw:
    """One installed CLI: its version, its node, its program and the tree it belongs to."""

    version: str
    node: Path
    script: Path
    tree: Path

    @property
    def argv(self) -> list[str]:
        """How it is called: both paths absolute, never from PATH."""
        return [str(self.node), str(self.script)]


def found(version: str = OLDER) -> tuple[Bw | None, str]:
    """Return the CLI and nothing, or None and why it is not to be had."""
    tree, why = npm.modules(_LOCKS / version)
    if tree is None:
        return None, why
    return Bw(version, npm.NODE, tree / "@bitwarden" / "cli" / "build" / "bw.js", tree), ""


def installed(version: str = OLDER) -> Bw:
    """Return the CLI; skip the test with the reason where it cannot be had."""
    bw, why = found(version)
    if bw is None:
        pytest.skip(f"bw {version}: {why}")
    return bw
