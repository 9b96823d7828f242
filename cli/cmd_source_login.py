"""Logins at sources: the account that colibri reads a server with, stored once it is proven."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from cli import output, prompt
from cli.cmd_source import show_facts
from cli.session import Json, session
from vault_svc.errors import ColibriError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vault_svc.domain.secret import SecretValue

login = typer.Typer(help="Store a server's account.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands to the group."""
    app.add_typer(login, name="login")


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
    show_facts("source-login", facts, as_json=json)
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
    show_facts("source-login", facts, as_json=json)
    if not json:
        output.say(f"the account is proven and stored in {facts.credential}")


def _absolute(path: str | None) -> str | None:
    return None if path is None else os.path.abspath(path)  # noqa: PTH100 - links stay as named
