"""What came of a tenant as the JSON contract has it; needs no Typer."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from cli.output import error_body

if TYPE_CHECKING:
    from vault_svc.domain.plan import Outcome


def record_body(record: Any) -> dict[str, Any]:
    """Return a receipt or a removal as the JSON contract has it."""
    shown = [field.name for field in fields(record) if field.name != "parts"]
    body = {name: getattr(record, name) for name in shown}
    if "keys" in body:
        return {
            "kind": "delivered",
            **body,
            "keys": list(record.keys),
            "mode": f"{record.mode:04o}",
        }
    return {"kind": "removed", **body}


def outcome_body(outcome: Outcome) -> dict[str, Any]:
    """Return what came of one tenant as the JSON contract has it."""
    return {
        "tenant_id": outcome.tenant_id,
        "result": outcome.result,
        "receipt": record_body(outcome.receipt) if outcome.receipt else None,
        "error": error_body(outcome.error) if outcome.error else None,
        "drift": list(outcome.drift),
        "displaced": outcome.displaced or None,
        "warnings": list(outcome.warnings),
    }
