"""Host keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import output
from cli.session import Json, session

if TYPE_CHECKING:
    from vault_svc.services.keys import Rotated

app = typer.Typer(help="Keys of this host.", no_args_is_help=True)
rotate = typer.Typer(help="Replace a key without a false alarm.", no_args_is_help=True)
app.add_typer(rotate, name="rotate")


@rotate.command("host")
def rotate_host(
    context: typer.Context,
    lost: Annotated[
        bool, typer.Option("--lost", help="The old key is gone: begin a new audit log, too.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a new host key and recompute digests with it.

    Example: colibri key rotate host
    """
    keys = session(context).services.keys
    _show("key-rotate-host", keys.replace_host() if lost else keys.rotate_host(), json, lost=lost)


@rotate.command("identity")
def rotate_identity(context: typer.Context, json: Json = False) -> None:
    """Make a new age identity and re-encrypt collections.

    After a crash, run it again.

    Example: colibri key rotate identity
    """
    _show("key-rotate-identity", session(context).services.keys.rotate_identity(), json)


def _show(command: str, done: Rotated, as_json: bool, *, lost: bool = False) -> None:
    if as_json:
        body = {
            "what": done.what,
            "old": done.old or None,
            "new": done.new or None,
            "redone": done.redone,
            "left": list(done.left),
        }
        output.document(command, body)
        return
    thing = "receipt" if done.what == "host key" else "collection"
    output.say(f"the {done.what} is replaced, {output.count(done.redone, thing)} redone")
    if done.left and lost:
        output.say(f"take over with provision --all: {', '.join(done.left)}")
    elif done.left:
        output.say(f"drifted and left as they were: {', '.join(done.left)}")
    output.say("back up credentials/ again: older backups lack the new key")
