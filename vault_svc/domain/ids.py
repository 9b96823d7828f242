"""How a jail counts users: the id maps of a user namespace (user_namespaces(7))."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError

MOST: Final = 2**32 - 2
NOBODY: Final = -1
"""What an id is called that has no number inside: equal to no id that can be registered."""


class Extent(NamedTuple):
    """As many ids, that begin with inside in the jail and with outside on the host."""

    inside: int
    outside: int
    many: int


@dataclass(frozen=True, slots=True)
class IdMap:
    """The user and group ids of one jail."""

    uids: tuple[Extent, ...]
    gids: tuple[Extent, ...]

    def outside(self, owner: Owner) -> Owner:
        """Return the host's numbers of a jail's owner; raise `owner_unmapped`."""
        uid, gid = _outside(self.uids, owner.uid), _outside(self.gids, owner.gid)
        if uid is None or gid is None:
            raise ColibriError(
                "owner_unmapped",
                f"the owner {owner.uid}:{owner.gid} has no number in this jail's user namespace",
                hint="register an owner within the jail's id map with update-tenant --owner",
            )
        return Owner(uid, gid)

    def inside(self, owner: Owner) -> Owner:
        """Return the jail's numbers of a host's owner, NOBODY for what is not mapped."""
        return Owner(_inside(self.uids, owner.uid), _inside(self.gids, owner.gid))

    def to_itself(self) -> IdMap:
        """Return the map of the same ids to themselves."""
        uids, gids = (
            tuple(Extent(each.inside, each.inside, each.many) for each in part)
            for part in (self.uids, self.gids)
        )
        return IdMap(uids, gids)


SAME: Final = IdMap((Extent(0, 0, MOST + 1),), (Extent(0, 0, MOST + 1),))
"""A jail that counts as the host does."""


_SHIFT: Final = 0x10000


def of_tree(root: Owner) -> IdMap | None:
    """Return how a tree that no process uses is shifted, by its root's owner; None if unclear.

    systemd-nspawn gives a tree of a user namespace to ids whose upper 16 bits are the shift
    (systemd-nspawn(1), --private-users-ownership=chown).
    """
    if root.uid == root.gid == 0:
        return SAME
    if root.uid != root.gid or root.uid % _SHIFT:
        return None
    shifted = (Extent(0, root.uid, _SHIFT),)
    return IdMap(shifted, shifted)


def extents(text: str) -> tuple[Extent, ...]:
    """Read /proc/PID/uid_map or gid_map; raise ValueError for anything else."""
    return tuple(Extent(*map(int, line.split())) for line in text.splitlines())


def _outside(found: Sequence[Extent], number: int) -> int | None:
    for each in found:
        if each.inside <= number < each.inside + each.many:
            return each.outside + number - each.inside
    return None


def _inside(found: Sequence[Extent], number: int) -> int:
    for each in found:
        if each.outside <= number < each.outside + each.many:
            return each.inside + number - each.outside
    return NOBODY
