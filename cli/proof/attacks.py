"""What hostile tenants leave in their jails before a delivery (containment.md, catalogue A and C).

Part of the proof, not of the product: planting is done by name, as a tenant would.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LEVELS: Final = 16
_LONG_NAME: Final = 247
_LONG_LINK: Final = 254


@dataclass(frozen=True, slots=True)
class Spot:
    """Where an attack happens: the jail's root, and host files that must stay as they are."""

    root: Path
    decoy: Path

    @property
    def home(self) -> Path:
        """The directory the tenant can change."""
        return self.root / "home"

    @property
    def app(self) -> Path:
        """The parent of the file."""
        return self.home / "app"

    @property
    def target(self) -> Path:
        """The file."""
        return self.app / ".env"

    @property
    def other(self) -> Path:
        """Another file of the jail, not the tenant's where we are root."""
        return self.home / "other"


@dataclass(frozen=True, slots=True)
class Attack:
    """One hostile tenant: replaced says what a delivery replaces, refused its error code."""

    name: str
    title: str
    plant: Callable[[Spot], None]
    replaced: str = ""
    refused: str = ""
    control: str = "plain"
    needs_root: bool = False


def make_spot(spot: Spot) -> None:
    """Make the decoy that an attack points at."""
    (spot.decoy / "dir").mkdir(parents=True)
    for path in (spot.decoy / "victim", spot.decoy / "dir" / "keep"):
        path.write_text("of the host\n")


def symlink(spot: Spot) -> None:
    """Point the file at a host file."""
    spot.target.symlink_to(spot.decoy / "victim")


def dangling(spot: Spot) -> None:
    """Point the file at a host name that is not there yet."""
    spot.target.symlink_to(spot.decoy / "new")


def device(spot: Spot) -> None:
    """Put /dev/null's node there: what is written is gone."""
    os.mknod(spot.target, stat.S_IFCHR | 0o666, os.makedev(1, 3))


def fifo(spot: Spot) -> None:
    """Put a FIFO there that nobody reads: opening it never returns."""
    os.mkfifo(spot.target)


def socket(spot: Spot) -> None:
    """Put a socket there."""
    os.mknod(spot.target, stat.S_IFSOCK | 0o600)


def hard_link(spot: Spot) -> None:
    """Make the file a second name of somebody else's file."""
    spot.other.write_text("of the jail's root\n")
    spot.other.chmod(0o640)
    spot.target.hardlink_to(spot.other)


def directory(spot: Spot) -> None:
    """Put a directory there that is not empty."""
    spot.target.mkdir()
    (spot.target / "keep").write_text("of the tenant\n")


def parent_relative(spot: Spot) -> None:
    """Lead the parent outside by `..`."""
    spot.app.rmdir()
    spot.app.symlink_to(os.path.relpath(spot.decoy / "dir", spot.home))


def parent_absolute(spot: Spot) -> None:
    """Lead the parent outside by a path from `/`."""
    spot.app.rmdir()
    spot.app.symlink_to(spot.decoy / "dir")


def parent_magic(spot: Spot) -> None:
    """Lead the parent outside through the kernel's link to the host's `/`."""
    spot.app.rmdir()
    spot.app.symlink_to(f"/proc/self/root{spot.decoy / 'dir'}")


def blind_chain(spot: Spot) -> None:
    """Lead the parent outside by links so long that realpath() gives up and says `inside`.

    16 nested directories with long names, each with a one-letter link to the next; a last link
    goes all the way up again. Resolved names outgrow PATH_MAX, where realpath ignores errors.
    """
    top = spot.home / "x"
    top.mkdir()
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    letters = [chr(ord("a") + level) for level in range(_LEVELS)]
    for letter in letters:
        name = letter * _LONG_NAME
        os.mkdir(name, 0o755, dir_fd=fd)
        os.symlink(name, letter, dir_fd=fd)
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.symlink("../" * _LEVELS, "l" * _LONG_LINK, dir_fd=fd)
    os.close(fd)
    up = os.path.relpath(spot.decoy / "dir", top)
    spot.app.rmdir()
    spot.app.symlink_to("/".join(["x", *letters, "l" * _LONG_LINK, up]))


def swapped_root(spot: Spot) -> None:
    """Put another directory where the registered root was."""
    spot.root.rename(spot.root.with_name("root.was"))
    spot.app.mkdir(parents=True)


def linked_root(spot: Spot) -> None:
    """Put a link to a host directory where the registered root was."""
    spot.root.rename(spot.root.with_name("root.was"))
    (spot.decoy / "dir" / "home" / "app").mkdir(parents=True)
    spot.root.symlink_to(spot.decoy / "dir")


ATTACKS: Final = (
    Attack("symlink", "symlink at the file's name", symlink, replaced="symlink"),
    Attack("dangling", "dangling symlink there", dangling, replaced="symlink"),
    Attack("device", "device node there", device, replaced="char device", needs_root=True),
    Attack("fifo", "FIFO there", fifo, replaced="fifo"),
    Attack("socket", "socket there", socket, replaced="socket", control=""),
    Attack("hard-link", "hard link there", hard_link, replaced="file"),
    Attack("directory", "directory there", directory, refused="target_not_regular", control=""),
    Attack(
        "parent-relative", "parent leads out by `..`", parent_relative, refused="path_not_plain"
    ),
    Attack(
        "parent-absolute", "parent is an absolute link", parent_absolute, refused="path_not_plain"
    ),
    Attack("parent-magic", "parent leads through /proc", parent_magic, refused="path_not_plain"),
    Attack(
        "blind-chain",
        "links that blind realpath()",
        blind_chain,
        refused="path_not_plain",
        control="realpath",
    ),
    Attack(
        "swapped-root", "jail root swapped", swapped_root, refused="jail_root_mismatch", control=""
    ),
    Attack(
        "linked-root", "jail root is a link", linked_root, refused="jail_root_not_plain", control=""
    ),
)
