"""The spawner hook: what an engine calls between making a jail and starting what is in it."""

from __future__ import annotations

import json as codec
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
    said = services.in_time(lambda: _encoded(act))
    if said is None:
        seconds = services.settings.hook_timeout_seconds
        raise ColibriError("hook_timeout", f"no delivery within {seconds:g} seconds")
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
