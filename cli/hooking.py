"""How the hook's forms answer a spawner; needs no Typer, since a jail waits for every import."""

from __future__ import annotations

import json as codec
import os
import select
import sys
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from cli import output
from cli.bodies import outcome_body
from vault_svc import faults
from vault_svc.errors import ColibriError

if TYPE_CHECKING:
    from vault_svc.services.hook import Spawned
    from vault_svc.wiring import Services

NOTHING_TO_DO: Final = frozenset({"no_tenant_for_jail", "no_collection"})


class OnFailure(StrEnum):
    """What becomes of a jail whose delivery failed."""

    REFUSE = "refuse"
    CONTINUE = "continue"


def run(services: Services, jail: str, root: str, on_failure: OnFailure, *, as_json: bool) -> None:
    """Answer the plain form."""
    from vault_svc.services.hook import Spawned

    answer = deliver(services, Spawned(jail, root), on_failure)
    if as_json:
        output.document("hook-run", {"jail": jail, **answer})
    else:
        output.say(f"jail '{jail}' may start: {words(answer)}")


def oci(services: Services, on_failure: OnFailure, *, as_json: bool) -> None:
    """Answer an OCI runtime, whose state is on stdin."""
    spawned = services.hook.oci(stdin(services.settings.hook_timeout_seconds))
    engine_facing(services, spawned, on_failure, as_json)


def nspawn(
    services: Services, machine: str, root: str | None, on_failure: OnFailure, *, as_json: bool
) -> None:
    """Answer systemd-nspawn@.service."""
    from vault_svc.services.hook import Spawned

    spawned = Spawned(machine, root or f"/var/lib/machines/{machine}")
    engine_facing(services, spawned, on_failure, as_json)


def bastille(
    services: Services, jail: str, root: str | None, on_failure: OnFailure, *, as_json: bool
) -> None:
    """Answer jail(8)."""
    from vault_svc.services.hook import Spawned

    spawned = Spawned(jail, root or f"/usr/local/bastille/jails/{jail}/root")
    engine_facing(services, spawned, on_failure, as_json)


def engine_facing(
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


def stdin(seconds: float) -> bytes:
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
        return _asked(services, lambda: _gathered(services, spawned))
    except ColibriError as error:
        if on_failure is OnFailure.REFUSE or error.code in NOTHING_TO_DO:
            raise
        failure = error
    output.say(failure.line())
    return _asked(services, lambda: _regardless(services, spawned, failure))


def _gathered(services: Services, spawned: Spawned) -> bytes:
    """Return the answer of whichever hook delivers for all that wait for this source now."""
    from dataclasses import astuple

    def serve(asked: Sequence[bytes]) -> list[bytes]:
        return _served(services, asked)

    source = services.hook.source_of(spawned)
    return services.together(source, codec.dumps(astuple(spawned)).encode(), serve)


def _served(services: Services, asked: Sequence[bytes]) -> list[bytes]:
    from vault_svc.services.hook import Spawned

    try:
        found = services.hook.several([Spawned(*codec.loads(each)) for each in asked])
    except BaseException as error:  # noqa: BLE001 - told by type and place, as in main()
        return [_raised(faults.internal(error))] * len(asked)
    return [
        _raised(each) if isinstance(each, ColibriError) else _plain(outcome_body(each))
        for each in found
    ]


def words(answer: dict[str, Any]) -> str:
    """Return an outcome for people."""
    tenant, receipt = answer["tenant_id"], answer["receipt"]
    if answer["result"] in NOTHING_TO_DO:
        return "it has no secrets to get"
    if answer["error"]:
        return "without new secrets, as --on-provision-failure=continue says"
    generation = f", generation {receipt['generation']}" if receipt else ""
    return f"tenant '{tenant}' {answer['result']}{generation}"


def _regardless(services: Services, spawned: Spawned, failure: ColibriError) -> bytes:
    from vault_svc.domain.plan import Outcome

    services.hook.carry_on(spawned, failure)
    return _plain(outcome_body(Outcome(failure.tenant, "failed", error=failure)))


def _asked(services: Services, act: Callable[[], bytes]) -> dict[str, Any]:
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


def _encoded(act: Callable[[], bytes]) -> bytes:
    try:
        return act()
    except ColibriError as error:
        return _raised(error)
    except BaseException as error:  # noqa: BLE001 - told by type and place, as in main()
        return _raised(faults.internal(error))


def _raised(error: ColibriError) -> bytes:
    return _plain({"raised": output.error_body(error)})


def _plain(answer: dict[str, Any]) -> bytes:
    return codec.dumps(answer).encode()
