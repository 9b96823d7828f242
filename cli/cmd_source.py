"""Sources that keep their secrets on a server."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cli import output
from cli.session import Json, OperatorFile, operator_token, session
from vault_svc.errors import ColibriError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vault_svc.ports.source_admin import Document, Facts

app = typer.Typer(help="Servers that secrets come from.", no_args_is_help=True)

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="The source: vault or vaultwarden.")]


@app.command("test")
def try_source(context: typer.Context, source: Source, json: Json = False) -> None:
    """Read the list of collections, once.

    It also closes a circuit that a refused account had opened.

    Example: colibri source test vaultwarden
    """
    facts = session(context).services.sources.test(source)
    show_facts("source-test", facts, as_json=json)
    if not json:
        output.say(f"{facts.collections} collections can be read")


@app.command("show")
def show_source(context: typer.Context, source: Source, json: Json = False) -> None:
    """Show a stored account, less its secrets.

    Example: colibri source show vaultwarden
    """
    show_facts("source-show", session(context).services.sources.show(source), as_json=json)


@app.command("logout")
def logout_source(context: typer.Context, source: Source, json: Json = False) -> None:
    """Forget a stored account; its server is not told.

    Replace the API key on the server as well if somebody else may have it.

    Example: colibri source logout vaultwarden
    """
    was_there = session(context).services.sources.logout(source)
    if session(context).settings.default_source == source:
        words = f"tenants are still registered with source '{source}' where none is named"
        output.say(f"warning: {words}; see the setting default_source")
    if json:
        output.document("source-logout", {"source": source, "changed": was_there})
    else:
        output.say(f"the account of '{source}' is {'gone' if was_there else 'gone already'}")


@app.command("doctor")
def doctor_source(context: typer.Context, source: Source, json: Json = False) -> None:
    """Look at all that a read from a server needs.

    Example: colibri source doctor vaultwarden
    """
    checks = session(context).services.sources.examine(source)
    if json:
        output.listing("source-doctor", (asdict(check) for check in checks))
    else:
        rows = [(check.name, check.state, check.seen, check.hint or "-") for check in checks]
        output.table(("CHECK", "STATE", "SEEN", "HINT"), rows, empty="nothing to look at")
    failing = [check for check in checks if check.state == "fail"]
    if failing:
        first = failing[0]
        raise output.ReportedError(first.code, f"{first.name}: {first.seen}", hint=first.hint)


@app.command("policies")
def policies_of_source(
    context: typer.Context,
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The source: vault.")],
    show: Annotated[bool, typer.Option("--print", help="Print them; ask no server.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Compare with the server's.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Install what differs.")] = False,
    name: Annotated[str, typer.Option(metavar="NAME", help="Print this one alone, as it is.")] = "",
    operator_file: OperatorFile = None,
    json: Json = False,
) -> None:
    """Print, compare or install what keeps tenants apart.

    That is the orchestrator's policy, the role its tenants' tokens come from, and one
    policy a collection. --check asks with the stored account and ends with 8 where
    the server differs. --apply needs a token of an operator who may write policies,
    from --operator-file, a prompt or stdin; it is used once and not kept.

    Example: colibri source policies vault --check
    """
    if show + check + apply != 1 or (name and not show):
        raise ColibriError(
            "usage",
            "one of --print, --check and --apply is needed; --name goes with --print",
            hint="colibri source policies --help",
        )
    sources = session(context).services.sources  # before the first value: protects the process
    if show:
        _print_documents(sources.policies(source), name, as_json=json)
        return
    if apply:
        done = sources.apply_policies(source, operator_token(context, operator_file))
    else:
        given = operator_token(context, operator_file) if operator_file else None
        done = sources.compare_policies(source, given)
    _show_documents(done, as_json=json)


def _print_documents(documents: Sequence[Document], name: str, *, as_json: bool) -> None:
    chosen = [each for each in documents if name in {"", each.name}]
    if not chosen:
        known = ", ".join(each.name for each in documents[:8])
        raise ColibriError("usage", f"there is no document '{name[:64]}'", hint=known)
    if as_json:
        output.listing("source-policies", map(asdict, chosen))
        return
    for each in chosen:
        head = "" if name else f"==> {each.name} ({each.kind})\n"
        output.text(head + each.text)


def _show_documents(documents: Sequence[Document], *, as_json: bool) -> None:
    if as_json:
        output.listing("source-policies", map(asdict, documents))
    else:
        rows = [(each.name, each.kind, each.state) for each in documents]
        output.table(("NAME", "KIND", "STATE"), rows, empty="the server needs nothing")
        for each in documents:
            if each.difference:
                output.text(f"==> {each.name}\n{each.difference}")
    wrong = [each.name for each in documents if each.state in {"differs", "missing"}]
    if wrong:
        raise output.ReportedError(
            "drift",
            f"the server lacks {output.count(len(wrong), 'document')} or has others",
            hint="colibri source policies vault --apply",
        )


def show_facts(command: str, facts: Facts, *, as_json: bool) -> None:
    """Print what is stored of an account, or seen of its server."""
    body = asdict(facts)
    if as_json:
        output.document(command, body)
        return
    rows = [(name.replace("_", " "), str(value)) for name, value in body.items() if value]
    output.table(("WHAT", "IS"), rows, empty="nothing is stored")
