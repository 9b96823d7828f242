"""Hooks answered by a process that is there already: what `colibri hook serve` does.

Its children deliver: each has settings, registry and source of its own, read anew. Whatever would
not be done here exactly as by the caller himself is left to him.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from cli import hook_call, hooking, lean, output
from cli.asked import Asked, OnFailure
from cli.invocation import Session
from cli.start import ended
from vault_svc.domain.plan import Outcome
from vault_svc.errors import ColibriError

if TYPE_CHECKING:
    from vault_svc.ports.hook_door import HookCall
    from vault_svc.services.hook import Spawned
    from vault_svc.wiring import Services

_CONFIG: Final = "COLIBRI_CONFIG"


def serve(session: Session) -> None:
    """Answer hooks until asked to end; raise `busy` where another process does."""
    own = {name: value for name, value in os.environ.items() if name.startswith("COLIBRI_")}
    own |= dict(each.split("=", 1) for each in hook_call.surroundings())
    mine = _circumstances(own, session.config_file)

    def fits(call: HookCall) -> bool:
        parsed = lean.hook(call.words[1:])
        if parsed is None or _circumstances(call.environment, parsed[0]) != mine:
            return False
        return mine[_CONFIG][:1] in {"", "/"}  # else it is another file for each of us

    def handle(calls: Sequence[HookCall], late: bool) -> None:
        _answer(session.config_file, [_Job(call) for call in calls], late=late)

    session.services.warm()
    session.services.hook_door(output.say).serve(fits, handle)


def _circumstances(environment: Mapping[str, str], config: str | None) -> dict[str, str]:
    """Return all that decides what a call does, but for its words."""
    whole = {name: value for name, value in environment.items() if value}
    return whole | {_CONFIG: config or whole.get(_CONFIG, "")}


class _Job:
    """A call on its way."""

    def __init__(self, call: HookCall) -> None:
        parsed = lean.hook(call.words[1:])
        self._call = call
        self.asked = parsed[1] if parsed else Asked("run")
        self.spawned: Spawned | None = None
        self.is_answered = False

    def announce(self, services: Services) -> None:
        """Read whose jail it is; raise what forbids its start."""
        said = self._call.stdin
        self.spawned = hooking.announced(services, self.asked, lambda _: said)

    def tell(self, act: Callable[[], None]) -> None:
        """Do what ends it, and give the caller its status and words."""
        with _captured() as (out, err):
            status = ended(act, as_json=self.asked.as_json)
        self.is_answered = True
        self._call.answer(status, _bytes(out), _bytes(err))

    def conclude(self, services: Services, result: Outcome | ColibriError) -> None:
        """Answer with what came of the delivery."""

        def deliver(spawned: Spawned, on_failure: OnFailure) -> dict[str, Any]:
            return hooking.settled(
                lambda: hooking.body(result),
                lambda failure: hooking.regardless(services, spawned, failure),
                on_failure,
            )

        self.tell(lambda: hooking.conclude(services, self.asked, self.spawned, deliver))


@contextlib.contextmanager
def _captured() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        yield out, err


def _bytes(text: io.StringIO) -> bytes:
    return text.getvalue().encode("utf-8", "backslashreplace")


def _answer(config: str | None, jobs: Sequence[_Job], *, late: bool) -> None:
    """Answer what came together: one delivery a source, those of several sources side by side."""
    with _services(config, jobs) as services:
        announced = list(_announced(services, jobs))
        if late:
            limit = services.settings.hook_timeout_seconds
            over = ColibriError("hook_timeout", f"no delivery within {limit:g} seconds")
            for job in announced:
                job.conclude(services, over)
            return
        groups = _by_source(services, announced)
        if len(groups) == 1:
            _deliver(services, groups[0])
    if len(groups) > 1:  # after the services' end: SQLite knows its locks by process

        def apart(group: Sequence[_Job]) -> Iterator[None]:
            with _services(config, group) as own:
                _deliver(own, group)
            yield from ()

        services.side_by_side(groups, apart)


def _announced(services: Services, jobs: Sequence[_Job]) -> Iterator[_Job]:
    for job in jobs:
        try:
            job.announce(services)
        except Exception as error:  # noqa: BLE001 - told by type and place, as in main()
            job.tell(partial(_raise, error))
        else:
            yield job


def _by_source(services: Services, jobs: Sequence[_Job]) -> list[list[_Job]]:
    """Return those that are to be delivered to, by source; answer the others."""
    groups: dict[str, list[_Job]] = {}
    for job in jobs:
        try:
            source = services.hook.source_of(job.spawned) if job.spawned else None
        except ColibriError as error:
            job.conclude(services, error)
            continue
        if source is None:
            job.conclude(services, Outcome("", "no_tenant_for_jail"))
        else:
            groups.setdefault(source, []).append(job)
    return list(groups.values())


def _deliver(services: Services, jobs: Sequence[_Job]) -> None:
    """Answer each as soon as its own delivery is done: whoever waits for a lock delays nobody."""
    spawned = [job.spawned for job in jobs if job.spawned]
    for number, result in filter(None, services.hook.each(spawned)):
        jobs[number].conclude(services, result)


@contextlib.contextmanager
def _services(config: str | None, jobs: Sequence[_Job]) -> Iterator[Services]:
    """Open services for the block; what fails as a whole is the answer of all who have none yet."""
    session = Session(config)
    try:
        yield session.services
    except Exception as error:  # noqa: BLE001 - told by type and place, as in main()
        for job in jobs:
            if not job.is_answered:
                job.tell(partial(_raise, error))
    finally:
        session.close()


def _raise(error: Exception) -> None:
    raise error
