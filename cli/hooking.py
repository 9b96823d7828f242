"""How the hook's forms answer a spawner; needs no Typer, since a jail waits for every import."""

from __future__ import annotations

import json as codec
import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from cli import output
from cli.asked import Asked, OnFailure
from cli.bodies import outcome_body
from vault_svc import faults
from vault_svc.errors import ColibriError

if TYPE_CHECKING:
    from vault_svc.domain.plan import Outcome
    from vault_svc.services.hook import Spawned
    from vault_svc.wiring import Services

NOTHING_TO_DO: Final = frozenset({"no_tenant_for_jail", "no_collection"})


_USUAL: Final = {
    "nspawn": "/var/lib/machines/{}",
    "bastille": "/usr/local/bastille/jails/{}/root",
}
"""Where an engine keeps a jail's root, unless it says otherwise."""

_MOST_SECONDS: Final = 1e6
"""The kernel's waits take no more than three weeks."""

Deliver = Callable[["Spawned", OnFailure], dict[str, Any]]


def answer(services: Services, asked: Asked) -> None:
    """Deliver into the jail that was just made, and answer its spawner."""

    def own(spawned: Spawned, on_failure: OnFailure) -> dict[str, Any]:
        return deliver(services, spawned, on_failure)

    conclude(services, asked, announced(services, asked, stdin), own)


def announced(services: Services, asked: Asked, said: Callable[[float], bytes]) -> Spawned | None:
    """Return the jail; None for a container that names none. said: stdin, within seconds."""
    if asked.form == "oci":
        return services.hook.oci(said(services.settings.hook_timeout_seconds))
    from vault_svc.services.hook import Spawned

    root = _USUAL[asked.form].format(asked.jail) if asked.root is None else asked.root
    return Spawned(asked.jail, root)


def conclude(services: Services, asked: Asked, spawned: Spawned | None, deliver: Deliver) -> None:
    """Deliver and say so; where there is nothing to deliver, start or refuse by policy.

    The plain form leaves the policy to its caller, who has a status for it.
    """
    if spawned is None:
        said = _unregistered(services, _nameless())
    else:
        try:
            said = deliver(spawned, asked.on_failure)
        except ColibriError as error:
            if error.code not in NOTHING_TO_DO or asked.form == "run":
                raise
            said = _unregistered(services, error)
    jail = spawned.jail if spawned else None
    if asked.as_json:
        output.document("hook-run", {"jail": jail, **said})
    else:
        output.say(f"jail '{jail or 'without a name'}' may start: {words(said)}")


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
        left = min(max(give_up - time.monotonic(), 0.0), _MOST_SECONDS)
        if not select.select([sys.stdin], [], [], left)[0]:
            raise ColibriError("hook_timeout", f"no whole OCI state within {seconds:g} seconds")
        chunk = os.read(sys.stdin.fileno(), MAX_STATE_BYTES)
        if not chunk:
            break
        said += chunk
    return bytes(said)


def deliver(services: Services, spawned: Spawned, on_failure: OnFailure) -> dict[str, Any]:
    """Return the outcome's document; raise what forbids the jail's start, or makes it needless."""
    return settled(
        lambda: _asked(services, lambda: _gathered(services, spawned)),
        lambda failure: _asked(services, lambda: _plain(regardless(services, spawned, failure))),
        on_failure,
    )


def settled(
    attempt: Callable[[], dict[str, Any]],
    regardless: Callable[[ColibriError], dict[str, Any]],
    on_failure: OnFailure,
) -> dict[str, Any]:
    """Return what attempt returns; for its failure what regardless does, if so asked."""
    try:
        return attempt()
    except ColibriError as error:
        if on_failure is OnFailure.REFUSE or error.code in NOTHING_TO_DO:
            raise
        failure = error
    output.say(failure.line())
    return regardless(failure)


def _gathered(services: Services, spawned: Spawned) -> bytes:
    """Return the answer of whichever hook delivers for all that wait for this source now."""
    from dataclasses import astuple

    def serve(asked: Sequence[bytes]) -> Iterator[tuple[int, bytes] | None]:
        return _served(services, asked)

    source = services.hook.source_of(spawned)
    return services.together(source, codec.dumps(astuple(spawned)).encode(), serve)


def _served(services: Services, asked: Sequence[bytes]) -> Iterator[tuple[int, bytes] | None]:
    from vault_svc.services.hook import Spawned

    left = set(range(len(asked)))
    try:
        for found in services.hook.each([Spawned(*codec.loads(each)) for each in asked]):
            if found is None:
                yield None
                continue
            number, result = found
            left.remove(number)
            yield number, _told(result)
    except Exception as error:  # noqa: BLE001 - told by type and place, as in main()
        for number in left:
            yield number, _raised(faults.internal(error))


def _told(result: Outcome | ColibriError) -> bytes:
    return _raised(result) if isinstance(result, ColibriError) else _plain(outcome_body(result))


def words(answer: dict[str, Any]) -> str:
    """Return an outcome for people."""
    tenant, receipt = answer["tenant_id"], answer["receipt"]
    if answer["result"] in NOTHING_TO_DO:
        return "it has no secrets to get"
    if answer["error"]:
        return "without new secrets, as --on-provision-failure=continue says"
    generation = f", generation {receipt['generation']}" if receipt else ""
    return f"tenant '{tenant}' {answer['result']}{generation}"


def body(result: Outcome | ColibriError) -> dict[str, Any]:
    """Return an outcome's document; raise what forbids the jail's start."""
    if isinstance(result, ColibriError):
        raise result
    return outcome_body(result)


def regardless(services: Services, spawned: Spawned, failure: ColibriError) -> dict[str, Any]:
    """Record that the jail starts without its secrets; return the outcome's document."""
    from vault_svc.domain.plan import Outcome

    services.hook.carry_on(spawned, failure)
    return outcome_body(Outcome(failure.tenant, "failed", error=failure))


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
