"""Whom a command in a jail runs as."""

from __future__ import annotations

import os

from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError


def who_runs(owner: Owner) -> Owner | None:
    """Return whom to become, None to stay who we are.

    Raises `owner_unmapped` for root, and for anybody else unless we are root.
    """
    if os.geteuid() != 0:
        if owner.uid != os.geteuid():
            raise ColibriError("owner_unmapped", "an ordinary user runs jails as itself only")
        return None
    if owner.uid == 0 or owner.gid == 0:
        raise ColibriError(
            "owner_unmapped", "nothing is run in a jail as root", hint="give it an owner of its own"
        )
    return owner
