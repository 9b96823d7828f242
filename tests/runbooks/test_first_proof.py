"""The page an operator reads first, executed as it stands."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.kit.places import private_directory
from tests.runbooks import pages

PAGE = "first-proof.md"
PODMANS_OWN = {".config", ".local"}
"""What an ordinary user's podman makes in its home when it is asked anything."""


@pytest.mark.xdist_group("race")
def test_every_block_does_what_the_page_says():
    blocks = pages.blocks(PAGE)
    with private_directory() as scratch:
        (scratch / "settings.toml").write_text("")
        environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(scratch),
            "LC_ALL": "C.UTF-8",
            "COLIBRI_CONFIG": str(scratch / "settings.toml"),
            "COLIBRI_DAEMON_DATA_DIR": str(scratch / "state"),
        }
        outputs = pages.run(blocks, environment, scratch)
        left = {path.name for path in scratch.iterdir()} - PODMANS_OWN
        assert left == {"settings.toml"}
    for block, output in zip(blocks, outputs, strict=True):
        assert pages.missing(block, output) == [], output
        assert block.expected, f"the page does not say what this shows: {block.commands}"


def test_an_expected_line_that_is_not_there_is_noticed():
    block = pages.Block("", ["ok … 3 keys", "gone"])
    assert pages.missing(block, "ok   1.0 s  3 keys\ngone\n") == []
    assert pages.missing(block, "ok   1.0 s  4 keys\ngone\n") == ["ok … 3 keys"]
    assert pages.missing(block, "3 keys ok\n") == ["ok … 3 keys", "gone"]


def test_the_table_of_fixes_names_steps_there_are():
    from cli.proof.steps import Story

    known = {step.name for step in Story(None).steps()} | {"clean", "unsafe_base"}
    table = (pages.RUNBOOKS / PAGE).read_text().partition("## Fix")[2].partition("## Verify")[0]
    named = {
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([a-z_-]+)`", line.split("|")[1])
    }
    assert named - {"inconclusive"} <= known
    assert {"race", "kill", "read-inside", "clean"} <= named


def test_the_index_lists_every_page():
    index = (pages.RUNBOOKS / "README.md").read_text()
    pages_there = {path.name for path in pages.RUNBOOKS.glob("*.md")} - {"README.md"}
    assert pages_there <= set(re.findall(r"\]\(([a-z-]+\.md)\)", index))
