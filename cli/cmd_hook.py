"""The spawner hook: what an engine calls between making a jail and starting what is in it."""

from __future__ import annotations

from typing import Annotated

import typer

from cli import hooking
from cli.asked import Asked, OnFailure
from cli.session import Json, session

app = typer.Typer(help="What engines call before a jail starts.", no_args_is_help=True)

Machine = Annotated[str, typer.Argument(metavar="JAIL", help="The jail's exact name.")]
Failing = Annotated[
    OnFailure,
    typer.Option(
        "--on-provision-failure", help="Refuse the jail's start, or record it and continue."
    ),
]


@app.command("run")
def run_hook(
    context: typer.Context,
    jail: Annotated[str, typer.Option(help="The jail's exact name.")],
    root: Annotated[str, typer.Option(help="Its root, as an absolute path on the host.")],
    on_failure: Failing = OnFailure.REFUSE,
    json: Json = False,
) -> None:
    """Deliver into a jail that was just made.

    Status 0: it may start. Status 3: no tenant, or no collection, so nothing was done. Anything
    else: it must not start. Asks no engine; ends within the setting hook_timeout_seconds.

    Example: colibri hook run --jail acme --root /var/lib/colibri/jails/acme/root
    """
    hooking.answer(session(context).services, Asked("run", jail, root, on_failure, as_json=json))


@app.command("oci")
def oci_hook(
    context: typer.Context, on_failure: Failing = OnFailure.REFUSE, json: Json = False
) -> None:
    """Answer an OCI runtime: createRuntime, its state on stdin.

    The jail's name is the annotation colibri.jail; the root is the bundle's. The setting
    unregistered_jails says whether a container without a tenant starts.

    Example: colibri hook oci <state.json
    """
    asked = Asked("oci", on_failure=on_failure, as_json=json)
    hooking.answer(session(context).services, asked)


@app.command("nspawn")
def nspawn_hook(
    context: typer.Context,
    machine: Machine,
    root: Annotated[
        str | None, typer.Option(help="Its root, if not /var/lib/machines/MACHINE.")
    ] = None,
    on_failure: Failing = OnFailure.REFUSE,
    json: Json = False,
) -> None:
    """Answer systemd-nspawn@.service, from its ExecStartPre=.

    Example: colibri hook nspawn acme
    """
    asked = Asked("nspawn", machine, root, on_failure, as_json=json)
    hooking.answer(session(context).services, asked)


@app.command("bastille")
def bastille_hook(
    context: typer.Context,
    jail: Machine,
    root: Annotated[
        str | None, typer.Option(help="Its root, if not /usr/local/bastille/jails/JAIL/root.")
    ] = None,
    on_failure: Failing = OnFailure.REFUSE,
    json: Json = False,
) -> None:
    """Answer jail(8), from its exec.created.

    Example: colibri hook bastille acme
    """
    asked = Asked("bastille", jail, root, on_failure, as_json=json)
    hooking.answer(session(context).services, asked)


@app.command("serve")
def serve_hooks(context: typer.Context) -> None:
    """Stay, and answer hooks: many jails at once start faster.

    Ends on SIGTERM, when what has begun is done. A hook that does not find it, or has other
    settings, delivers by itself.

    Example: colibri hook serve
    """
    from cli import hook_serving

    hook_serving.serve(session(context))
