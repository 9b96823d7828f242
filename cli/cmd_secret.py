"""Secrets of collections that colibri itself keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import output, prompt
from cli.session import Json, OperatorFile, operator_token, session
from vault_svc.errors import ColibriError

if TYPE_CHECKING:
    from vault_svc.domain.secret import CollectionRef, SecretValue

app = typer.Typer(help="Secrets that colibri itself can write.", no_args_is_help=True)

Collection = Annotated[str, typer.Argument(metavar="COLLECTION", help="The collection's name.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The variable's name.")]
Source = Annotated[str, typer.Option(help="The source that keeps the collection.")]


@app.command("set")
def set_secret(
    context: typer.Context,
    collection: Collection,
    name: Name,
    source: Source = "embedded",
    from_file: Annotated[
        str | None, typer.Option("--from-file", metavar="FILE", help="Take the value from a file.")
    ] = None,
    operator_file: OperatorFile = None,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Set an empty value on purpose.")
    ] = False,
    json: Json = False,
) -> None:
    """Set one variable, from a prompt, stdin or a file.

    A value is never an argument: other processes could read it there.
    One final line feed is taken off. A new collection is made when there is none.
    Source vault is written with an operator's own token, from --operator-file or a
    prompt: colibri's account there can write nothing.

    Example: colibri secret set acme API_KEY < key.txt
    """
    secrets = session(context).services.secrets  # before the first value: protects the process
    secrets.refuse_names(collection, [name])  # before anybody types a value
    operator = _operator(context, source, operator_file, stdin_is_taken=from_file is None)
    value = prompt.value_from(from_file, f"value of {name[:128]}")
    if not len(value) and not allow_empty:  # a producer that failed has said nothing, too
        raise ColibriError(
            "usage", f"no value of {name[:128]} came", hint="--allow-empty sets an empty one"
        )
    ref, revision = secrets.change(
        source, collection, {name: value}, create=True, operator=operator
    )
    _done(context, "secret-set", ref, revision, f"{name} is set in '{collection}'", as_json=json)


@app.command("unset")
def unset_secret(
    context: typer.Context,
    collection: Collection,
    name: Name,
    source: Source = "embedded",
    operator_file: OperatorFile = None,
    json: Json = False,
) -> None:
    """Take one variable out of a collection.

    Example: colibri secret unset acme API_KEY
    """
    secrets = session(context).services.secrets
    operator = _operator(context, source, operator_file)
    ref, revision = secrets.change(
        source, collection, {name: None}, create=False, operator=operator
    )
    _done(context, "secret-unset", ref, revision, f"{name} is out of '{collection}'", as_json=json)


@app.command("import")
def import_secrets(
    context: typer.Context,
    collection: Collection,
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="KEY=VALUE lines, or a delivered .env; - for stdin."),
    ],
    source: Source = "embedded",
    operator_file: OperatorFile = None,
    json: Json = False,
) -> None:
    """Set every KEY=VALUE line of a file in one step.

    Variables that the file does not name stay as they are.

    Example: colibri secret import acme ./old.env
    """
    from vault_svc.domain.dotenv import parse_given
    from vault_svc.domain.secret import SecretValue

    secrets = session(context).services.secrets  # before the first value: protects the process
    operator = _operator(context, source, operator_file, stdin_is_taken=file == "-")
    found = parse_given(prompt.file_bytes(file))
    if not found:
        raise ColibriError("usage", "there is no KEY=VALUE line in the input", hint="check it")
    updates = {name: SecretValue(value) for name, value in found.items()}
    ref, revision = secrets.change(source, collection, updates, create=True, operator=operator)
    done = f"{output.count(len(updates), 'variable')} set in '{collection}'"
    _done(context, "secret-import", ref, revision, done, as_json=json)


@app.command("list")
def list_secrets(
    context: typer.Context,
    collection: Collection,
    source: Source = "embedded",
    operator_file: OperatorFile = None,
    json: Json = False,
) -> None:
    """List names, lengths in bytes and ages; never a value.

    Example: colibri secret list acme
    """
    secrets = session(context).services.secrets
    operator = _operator(context, source, operator_file)
    infos = secrets.infos(source, collection, operator=operator)
    if json:
        items = ({"name": i.name, "length": i.length, "set_at": i.set_at} for i in infos)
        output.listing("secret-list", items)
        return
    rows = [(info.name, str(info.length), info.set_at) for info in infos]
    output.table(("NAME", "BYTES", "SET AT"), rows, empty="the collection is empty")


def _operator(
    context: typer.Context, source: str, file: str | None, *, stdin_is_taken: bool = False
) -> SecretValue | None:
    """Return the operator's token where the source is written by one."""
    if not session(context).services.secrets.needs_operator(source):
        if file:
            raise ColibriError(
                "usage", f"source '{source[:40]}' needs no operator's token", hint="leave it out"
            )
        return None
    if stdin_is_taken and not file and not prompt.at_terminal():
        raise ColibriError(
            "usage",
            "stdin holds the value, and nothing the operator's token",
            hint="name a private file with --operator-file",
        )
    return operator_token(context, file)


def _done(
    context: typer.Context,
    command: str,
    ref: CollectionRef,
    revision: int,
    done: str,
    *,
    as_json: bool,
) -> None:
    _name_the_store(context)
    if as_json:
        body = {
            "collection": ref.name,
            "collection_id": ref.collection_id,
            "revision": revision,
        }
        output.document(command, body)
    else:
        output.say(f"{done} (revision {revision})")


def _name_the_store(context: typer.Context) -> None:
    """Say which source was written where none was named and tenants' default is another."""
    usual, written = session(context).settings.default_source, context.params["source"]
    chosen = context.get_parameter_source("source")
    if usual != written and (chosen is None or chosen.name == "DEFAULT"):
        words = f"this is source '{written}', the default source of tenants is '{usual}'"
        output.say(f"warning: {words}; --source names one")
