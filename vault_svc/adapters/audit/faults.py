"""What goes wrong with the audit log, in an operator's words."""

from __future__ import annotations

import errno
import os
from typing import Final

from vault_svc.errors import ColibriError

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT})


def broken(why: str) -> ColibriError:
    """Return the error for a log that somebody has been at."""
    return ColibriError(
        "audit_broken",
        f"the audit log: {why}",
        hint="colibri audit verify says where; see the runbook audit-broken.md",
    )


def unwritable(directory: str, error: OSError) -> ColibriError:
    """Return the error for a log that cannot be written now."""
    if error.errno in NO_SPACE:
        return ColibriError(
            "audit_unwritable",
            f"no space left for the audit log in '{directory}'",
            hint="free some space; suspend, revoke and offboard still work meanwhile",
        )
    return ColibriError(
        "audit_unwritable",
        f"the audit log in '{directory}': {os.strerror(error.errno or 0)}",
        hint="check the data directory and its file system",
    )
