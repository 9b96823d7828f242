"""A jail has its memory if its mount table says so; nothing on the jail's side is opened."""

from __future__ import annotations

import pytest

from vault_svc.hazmat.jail_memory import _at, _mount

ROOT = "1 0 8:1 / / rw - ext4 /dev/sda rw"
RUN = "2 1 0:30 / /run rw - tmpfs tmpfs rw"
MEMORY = "3 2 0:44 / /run/colibri rw,relatime idmapped - tmpfs colibri rw"
PATH = "/run/colibri"


def at(*lines: str, path: str = PATH) -> str:
    found = _at([_mount(line.split(" ")) for line in lines], path)
    return found.number if found else ""


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((ROOT, RUN, MEMORY), "3"),
        ((MEMORY, RUN, ROOT), "3"),  # whatever the order
        ((ROOT, "3 1 0:44 / /run/colibri rw - tmpfs colibri rw"), "3"),
        ((ROOT, RUN), ""),
        ((ROOT,), ""),
        ((ROOT, RUN, MEMORY, "4 3 0:50 / /run/colibri rw - tmpfs x rw"), "4"),  # on top of it
        ((ROOT, RUN, MEMORY, "4 2 0:50 / /run rw - tmpfs x rw"), ""),  # over what leads there
        ((ROOT, RUN, MEMORY, "4 1 0:50 / / rw - ext4 x rw"), ""),  # over the root itself
        ((ROOT, RUN, MEMORY, "4 3 0:50 / /run/colibri/secrets rw - fuse x rw"), "3"),
        ((ROOT, RUN, "3 2 0:44 / /run/colibri-x rw - tmpfs colibri rw"), ""),
        ((ROOT, "3 1 0:44 / /run2/colibri rw - tmpfs colibri rw"), ""),  # moved away
    ],
)
def test_what_is_mounted_there_is_what_a_process_would_reach(lines, expected):
    assert at(*lines) == expected


def test_names_with_spaces_are_what_they_were():
    lines = (ROOT, "3 1 0:44 / /a\\040b/run/colibri rw - tmpfs colibri rw")
    assert at(*lines, path="/a b/run/colibri") == "3"


def test_before_the_jail_has_its_root_the_path_is_the_hosts():
    bundle = "/var/lib/bundle/rootfs"
    lines = (ROOT, f"2 1 0:60 / {bundle} rw - overlay o rw")
    assert at(*lines, f"3 2 0:44 / {bundle}/run/colibri rw - tmpfs c rw", path=bundle + PATH) == "3"
