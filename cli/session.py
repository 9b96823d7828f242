"""A command's way to what its run shares, and the options that several commands have."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from cli.invocation import Session
from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError

if TYPE_CHECKING:
    from vault_svc.domain.secret import SecretValue

__all__ = ["Json", "OperatorFile", "Session", "operator_token", "parse_owner", "session"]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

OperatorFile = Annotated[
    str | None,
    typer.Option("--operator-file", metavar="FILE", help="Take the operator's token from a file."),
]


def session(context: typer.Context) -> Session:
    """Return this run's session."""
    found = context.find_object(Session)
    if found is None:
        raise ColibriError("internal", "the command was called without a session")
    return found


def operator_token(context: typer.Context, path: str | None) -> SecretValue:
    """Return an operator's own token, from a private file, a prompt or stdin; it is not kept."""
    from cli import prompt

    services = session(context).services
    if path:
        return services.private_file(os.path.abspath(path))  # noqa: PTH100 - links stay as named
    return prompt.secret_value("operator's token")


def parse_owner(text: str | None) -> Owner | None:
    """Return `UID:GID` as numbers; raise `usage` for anything else."""
    if text is None:
        return None
    uid, colon, gid = text.partition(":")
    numbers = [int(part) for part in (uid, gid) if part.isascii() and part.isdigit()]
    if not colon or len(numbers) != len((uid, gid)) or max(numbers) >= 2**32 - 1:
        raise ColibriError(
            "usage", f"'{text[:40]}' is no owner", hint="numbers, for example --owner 1000:1000"
        )
    return Owner(*numbers)
