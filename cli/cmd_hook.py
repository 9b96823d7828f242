"""The spawner hook: what an engine calls between making a jail and starting what is in it."""

from __future__ import annotations

import json as codec
import os
import select
import sys
import time
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cli import faults, output
from cli.cmd_provision import outcome_body
from cli.session import Json, session
from vault_svc.errors import ColibriError

if TYPE_CHECKING:
    from vault_svc.services.hook import Spawned
    from vault_svc.wiring import Services

app = typer.Typer(help="What engines call before a jail starts.", no_args_is_help=True)

NOTHING_TO_DO: Final = frozenset({"no_tenant_for_jail", "no_collection"})


class OnFailure(StrEnum):
    """What becomes of a jail whose delivery failed."""

    REFUSE = "refuse"
    CONTINUE = "continue"


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
    from vault_svc.services.hook import Spawned

    answer = deliver(session(context).services, Spawned(jail, root), on_failure)
    if json:
        output.document("hook-run", {"jail": jail, **answer})
    else:
        output.say(f"jail '{jail}' may start: {words(answer)}")


@app.command("oci")
def oci_hook(
    context: typer.Context, on_failure: Failing = OnFailure.REFUSE, json: Json = False
) -> None:
    """Answer an OCI runtime: createRuntime, its state on stdin.

    The jail's name is the annotation colibri.jail; the root is the bundle's. The setting
    unregistered_jails says whether a container without a tenant starts.

    Example: colibri hook oci <state.json
    """
    services = session(context).services
    spawned = services.hook.oci(_stdin(services.settings.hook_timeout_seconds))
    _engine_facing(services, spawned, on_failure, json)


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
    from vault_svc.services.hook import Spawned

    spawned = Spawned(machine, root or f"/var/lib/machines/{machine}")
    _engine_facing(session(context).services, spawned, on_failure, json)


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
    from vault_svc.services.hook import Spawned

    spawned = Spawned(jail, root or f"/usr/local/bastille/jails/{jail}/root")
    _engine_facing(session(context).services, spawned, on_failure, json)


def _engine_facing(
    services: Services, spawned: Spawned | None, on_failure: OnFailure, as_json: bool
) -> None:
    """Deliver and say so; where there is nothing to deliver, start or refuse by policy."""
    if spawned is None:
        answer = _unregistered(services, _nameless())
    else:
        try:
            answer = deliver(services, spawned, on_failure)
        except ColibriError as error:
            if error.code not in NOTHING_TO_DO:
                raise
            answer = _unregistered(services, error)
    jail = spawned.jail if spawned else None
    if as_json:
        output.document("hook-run", {"jail": jail, **answer})
    else:
        output.say(f"jail '{jail or 'without a name'}' may start: {words(answer)}")


def _unregistered(services: Services, error: ColibriError) -> dict[str, Any]:
    """Return the outcome of a jail that gets nothing; raise error where policy refuses it."""
    from vault_svc.domain.plan import Outcome

    if error.code == "no_tenant_for_jail" and services.settings.unregistered_jails == "refuse":
        raise error
    return outcome_body(Outcome(error.tenant, error.code)) | {"tenant_id": error.tenant or None}


def _nameless() -> ColibriError:
    return ColibriError(
        "no_tenant_for_jail",
        "the container has no annotation colibri.jail, so it has no tenant",
        hint="colibri hook show podman",
    )


def _stdin(seconds: float) -> bytes:
    """Return what stands on stdin: one byte more than is allowed at most, whole within seconds."""
    from vault_svc.domain.oci import MAX_STATE_BYTES

    if sys.stdin is None or sys.stdin.isatty():
        raise ColibriError("usage", "no OCI state on stdin", hint="a runtime gives it to its hooks")
    said, give_up = bytearray(), time.monotonic() + seconds
    while len(said) <= MAX_STATE_BYTES:
        left = max(give_up - time.monotonic(), 0.0)
        if not select.select([sys.stdin], [], [], left)[0]:
            raise ColibriError("hook_timeout", f"no whole OCI state within {seconds:g} seconds")
        chunk = os.read(sys.stdin.fileno(), MAX_STATE_BYTES)
        if not chunk:
            break
        said += chunk
    return bytes(said)


def deliver(services: Services, spawned: Spawned, on_failure: OnFailure) -> dict[str, Any]:
    """Return the outcome's document; raise what forbids the jail's start, or makes it needless."""
    try:
        return _asked(services, lambda: outcome_body(services.hook.run(spawned)))
    except ColibriError as error:
        if on_failure is OnFailure.REFUSE or error.code in NOTHING_TO_DO:
            raise
        failure = error
    output.say(failure.line())
    return _asked(services, lambda: _regardless(services, spawned, failure))


def words(answer: dict[str, Any]) -> str:
    """Return an outcome for people."""
    tenant, receipt = answer["tenant_id"], answer["receipt"]
    if answer["result"] in NOTHING_TO_DO:
        return "it has no secrets to get"
    if answer["error"]:
        return "without new secrets, as --on-provision-failure=continue says"
    generation = f", generation {receipt['generation']}" if receipt else ""
    return f"tenant '{tenant}' {answer['result']}{generation}"


def _regardless(services: Services, spawned: Spawned, failure: ColibriError) -> dict[str, Any]:
    from vault_svc.domain.plan import Outcome

    services.hook.carry_on(spawned, failure)
    return outcome_body(Outcome(failure.tenant, "failed", error=failure))


def _asked(services: Services, act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do it in a child within the hook's time; raise what it raised, or `hook_timeout`."""
    seconds = services.settings.hook_timeout_seconds
    try:
        said = services.in_time(lambda: _encoded(act))
    except TimeoutError:
        raise ColibriError("hook_timeout", f"no delivery within {seconds:g} seconds") from None
    if said is None:
        raise ColibriError("hook_timeout", "the delivery was killed before it ended")
    answer: dict[str, Any] = codec.loads(said)
    if "raised" not in answer:
        return answer
    raised = answer["raised"]
    raise ColibriError(
        raised["code"], raised["message"], hint=raised["hint"], tenant=raised["tenant"] or ""
    )


def _encoded(act: Callable[[], dict[str, Any]]) -> bytes:
    try:
        answer = act()
    except ColibriError as error:
        answer = {"raised": output.error_body(error)}
    except BaseException as error:  # noqa: BLE001 - told by type and place, as in main()
        answer = {"raised": output.error_body(faults.internal(error))}
    return codec.dumps(answer).encode()
