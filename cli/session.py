"""What one run of the command shares: settings and services, built when first asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated

import typer

from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError

if TYPE_CHECKING:
    from vault_svc.config import Settings
    from vault_svc.domain.secret import SecretValue
    from vault_svc.wiring import Services

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]

OperatorFile = Annotated[
    str | None,
    typer.Option("--operator-file", metavar="FILE", help="Take the operator's token from a file."),
]


@dataclass
class Session:
    """One invocation."""

    config_file: str | None = None
    verbose: bool = False

    @cached_property
    def settings(self) -> Settings:
        """The settings, read once."""
        from vault_svc.config import load

        return load(os.environ, self.config_file)

    @cached_property
    def services(self) -> Services:
        """The services over the configured adapters."""
        from vault_svc.wiring import Services

        return Services(self.settings)

    def close(self) -> None:
        """End what a run holds open."""
        if "services" in vars(self):
            self.services.close()


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
