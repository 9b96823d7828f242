"""The first proof."""

from __future__ import annotations

import typer

from cli.session import Json


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("first-proof")(first_proof)


def first_proof(json: Json = False) -> None:
    """Do the whole job once in a scratch place, and attack it.

    Deliver, drift, repair, attack, revoke: every step is checked, nothing is left behind.

    Example: colibri first-proof
    """
    from cli.proof import run

    raise typer.Exit(run(as_json=json))
