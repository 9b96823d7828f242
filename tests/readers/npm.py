"""The npm packages of the promised node readers, pinned by this folder's package-lock.json."""

from __future__ import annotations

from pathlib import Path

from tests.kit import npm

NODE = npm.NODE


def modules() -> tuple[Path | None, str]:
    """Return node_modules and nothing, or None and why it is not to be had."""
    return npm.modules(Path(__file__).parent)
