"""Sources that keep their secrets on a server."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cli import output, prompt
from cli.session import Json, OperatorFile, operator_token, session
from vault_svc.errors import ColibriError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vault_svc.domain.secret import SecretValue
    from vault_svc.ports.source_admin import Document, Facts

app = typer.Typer(help="Servers that secrets come from.", no_args_is_help=True)
login = typer.Typer(help="Store a server's account.", no_args_is_help=True)
app.add_typer(login, name="login")

Source = Annotated[str, typer.Argument(metavar="SOURCE", help="The source: vault or vaultwarden.")]


@login.command("vaultwarden")
def login_vaultwarden(
    context: typer.Context,
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="The server's https address.")
    ] = None,
    organization: Annotated[
        str | None, typer.Option(metavar="NAME", help="The organisation's exact name, or its id.")
    ] = None,
    ca_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="PEM of a private authority; it is kept.")
    ] = None,
    bw: Annotated[
        str | None, typer.Option(metavar="PATH", help="bw.js of the npm package, or a bw program.")
    ] = None,
    node: Annotated[
        str | None, typer.Option(metavar="PATH", help="The node that runs bw.js.")
    ] = None,
    import_file: Annotated[
        str | None,
        typer.Option("--import", metavar="FILE", help="Take server and keys from an older file."),
    ] = None,
    stored: Annotated[
        bool, typer.Option("--stored", help="Keep the account; record bw and CA anew.")
    ] = False,
    default: Annotated[
        bool, typer.Option("--default", help="Register new tenants with this source.")
    ] = False,
    json: Json = False,
) -> None:
    """Store the service account, proven by one read.

    Asked for without echo, or read from stdin, one per line: client id, client secret,
    master password. Settings, Security, Keys shows the first two; an organisation's
    API key does not work. bw and node are recorded: every run checks that they are the
    same; after an upgrade, --stored records the new ones. --import reads BW_SERVER,
    BW_CLIENTID, BW_CLIENTSECRET and BW_PASSWORD from a file of mode 0600, once; delete
    it afterwards.

    Example: colibri source login vaultwarden --server https://vault.example.org
    --organization Acme
    """
    from vault_svc.ports.source_admin import Asked

    sources = session(context).services.sources  # before the first value: protects the process
    older = sources.older(os.path.abspath(import_file)) if import_file else None  # noqa: PTH100
    server = server or (older.server if older else None)
    if stored == bool(server or organization or older):
        raise ColibriError(
            "usage",
            "either --server and --organization are needed, or --stored alone",
            hint="colibri source login vaultwarden --help",
        )
    if not stored and not (server and organization):
        raise ColibriError(
            "usage",
            "--server and --organization are needed",
            hint="colibri source login vaultwarden --help",
        )
    asked = Asked(
        server or "", organization or "", _absolute(ca_file), _absolute(bw), _absolute(node), stored
    )
    begun = sources.begin("vaultwarden", asked)
    secrets: Sequence[SecretValue] = older.secrets if older else ()
    if begun.wanted and not older:
        secrets = prompt.secret_values(begun.wanted)
    facts = sources.login("vaultwarden", begun, secrets, default=default)
    _show("source-login", facts, as_json=json)
    if not json:
        output.say(f"the account is proven and stored in {facts.credential}")


@login.command("vault")
def login_vault(
    context: typer.Context,
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="The server's https address.")
    ] = None,
    auth: Annotated[
        str, typer.Option(metavar="METHOD", help="approle, token-file, cert or jwt.")
    ] = "approle",
    mount: Annotated[str, typer.Option(metavar="PATH", help="The KV engine's mount.")] = "secret",
    folder: Annotated[
        str, typer.Option(metavar="PATH", help="The folder of the tenants' collections in it.")
    ] = "tenants",
    namespace: Annotated[str, typer.Option(metavar="PATH", help="The server's namespace.")] = "",
    auth_mount: Annotated[
        str, typer.Option(metavar="PATH", help="The auth method's mount, if not the usual one.")
    ] = "",
    role: Annotated[str, typer.Option(metavar="NAME", help="The role of cert or jwt.")] = "",
    auth_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="A file with a token, or with a JWT.")
    ] = None,
    cert_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="The client's certificate, PEM.")
    ] = None,
    key_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="The certificate's private key, PEM.")
    ] = None,
    ca_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="PEM of the one authority that counts.")
    ] = None,
    stored: Annotated[
        bool, typer.Option("--stored", help="Prove the stored account anew.")
    ] = False,
    default: Annotated[
        bool, typer.Option("--default", help="Register new tenants with this source.")
    ] = False,
    json: Json = False,
) -> None:
    """Store an account at Vault or OpenBao, proven by one read.

    AppRole asks without echo, or reads from stdin, one per line: role id, wrapped
    secret id. The secret id comes response-wrapped and is unwrapped here, once: if that
    fails, somebody else has it. The other methods ask for nothing and keep the names of
    files, which are read at every run and must be private to this account.

    Example: colibri source login vault --server https://vault.example.org:8200
    """
    from vault_svc.ports.source_admin import VaultAsked

    if stored == bool(server):
        raise ColibriError(
            "usage",
            "either --server is needed, or --stored alone",
            hint="colibri source login vault --help",
        )
    sources = session(context).services.sources  # before the first value: protects the process
    asked = VaultAsked(
        server=server or "",
        ca_file=_absolute(ca_file),
        stored=stored,
        method=auth,
        mount=mount,
        folder=folder,
        namespace=namespace,
        auth_mount=auth_mount,
        role=role,
        auth_file=_absolute(auth_file) or "",
        cert_file=_absolute(cert_file) or "",
        key_file=_absolute(key_file) or "",
    )
    begun = sources.begin("vault", asked)
    secrets = prompt.secret_values(begun.wanted) if begun.wanted else ()
    facts = sources.login("vault", begun, secrets, default=default)
    _show("source-login", facts, as_json=json)
    if not json:
        output.say(f"the account is proven and stored in {facts.credential}")


@app.command("test")
def try_source(context: typer.Context, source: Source, json: Json = False) -> None:
    """Read the list of collections, once.

    It also closes a circuit that a refused account had opened.

    Example: colibri source test vaultwarden
    """
    facts = session(context).services.sources.test(source)
    _show("source-test", facts, as_json=json)
    if not json:
        output.say(f"{facts.collections} collections can be read")


@app.command("show")
def show_source(context: typer.Context, source: Source, json: Json = False) -> None:
    """Show a stored account, less its secrets.

    Example: colibri source show vaultwarden
    """
    _show("source-show", session(context).services.sources.show(source), as_json=json)


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


def _absolute(path: str | None) -> str | None:
    return None if path is None else os.path.abspath(path)  # noqa: PTH100 - links stay as named


def _show(command: str, facts: Facts, *, as_json: bool) -> None:
    body = asdict(facts)
    if as_json:
        output.document(command, body)
        return
    rows = [(name.replace("_", " "), str(value)) for name, value in body.items() if value]
    output.table(("WHAT", "IS"), rows, empty="nothing is stored")
