"""The operator's one act on the audit log: to put a broken one aside and go on."""

from __future__ import annotations

from dataclasses import dataclass

from vault_svc.domain.audit import Head
from vault_svc.services.context import Context


@dataclass(frozen=True, slots=True)
class Auditing:
    """Acts on the log itself; what is written to it is each use case's own business."""

    context: Context

    def renew(self) -> tuple[Head, str]:
        """Begin a new log; return its head and the name of the directory the old one is in.

        Raises `usage` for an intact log, `audit_unwritable`, `busy`.
        """
        head, aside = self.context.audit.renew()
        self.context.registry.mirror(head)
        return head, aside
