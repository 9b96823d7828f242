"""One command, killed at each of its state-changing calls, and what came of it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash import checks, place
from tests.crash.driver import Colibri
from tests.crash.facts import Facts
from tests.crash.tracing import Call

VERIFY = ("verify", "--all", "--json")
AUDIT = ("audit", "verify", "--json")


@dataclass(frozen=True)
class Scenario:
    """A command and the state it finds; floor: how many kill points it has at the least.

    again: what the command answers when a killed run had done all of it already. exact: calls
    come in one order; without, threads race, and only calls that they alone make are killed at.
    alone: only what colibri's first process calls counts, not its children's calls; how often it
    looks at processes varies. killed: how the command ends when one of its processes is killed.
    `{state}` in it is the state directory. share: the short sweep takes each n-th point only.
    """

    name: str
    command: tuple[str, ...]
    prepare: Callable[[Colibri, Path], None]
    floor: int
    stdin: str = ""
    again: tuple[int, ...] = (0,)
    repeats: bool = True
    exact: bool = True
    alone: bool = False
    share: int = 1
    killed: tuple[int, ...] = (-signal.SIGKILL,)
    settings: dict[str, str] = field(default_factory=dict)
    moment: Callable[[Facts, Facts, Facts], Iterator[str]] = checks.moment
    settled: Callable[[Facts, Facts, Facts], Iterator[str]] = checks.settled


@dataclass(frozen=True, slots=True)
class Killed:
    """One kill: where, and each promise it broke as `rule: text`."""

    at: Call
    broken: tuple[str, ...]


class Sweep:
    """A scenario in a state directory of its own, prepared and run once to its end."""

    def __init__(
        self, colibri: Colibri, top: Path, scenario: Scenario, *, every: bool = False
    ) -> None:
        self._colibri, self._scenario, self._every = colibri, scenario, every
        self._state = top / "state"
        # A writer in a thread of its own makes calls that are counted on their own.
        settings = {"write_concurrency": "1", "second_layer": "off", **scenario.settings}
        colibri.use(self._state, **settings)
        scenario.prepare(colibri, self._state)
        self._before = self._facts()
        self._command = tuple(part.format(state=self._state) for part in scenario.command)
        ran, calls = colibri.traced(*self._command, stdin=scenario.stdin, every=every)
        assert ran.status == 0, ran
        self.calls = self._counted(calls)
        self._after = self._facts()
        self._spelling = [call.name for call in self.calls if call.changes]

    def _counted(self, calls: list[Call]) -> list[Call]:
        if not self._scenario.alone:
            return calls
        return [call for call in calls if call.thread == calls[0].thread]

    @property
    def points(self) -> list[Call]:
        """Return the kill points: calls that change state, or in a full sweep every call."""
        if not self._scenario.exact:
            main = {call.name for call in self.calls if call.thread == self.calls[0].thread}
            theirs = {(c.name, c.nth): c for c in self.calls if c.changes and c.name not in main}
            return list(theirs.values())
        return [call for call in self._reached() if self._every or call.changes]

    def _reached(self) -> Iterator[Call]:
        """Yield the calls a kill can be aimed at.

        strace counts in each process: one of the same name and number that another makes earlier
        would be hit in their place.
        """
        first: dict[tuple[str, int], int] = {}
        for call in self.calls:
            if first.setdefault((call.name, call.nth), call.thread) == call.thread:
                yield call

    def kill(self, points: Sequence[Call]) -> Iterator[Killed]:
        """Kill at each point, look, run again, look again; the state is put back every time."""
        for point in points:
            place.put_back(self._state, dict(self._before.picture))
            yield Killed(point, tuple(self._one(point)))

    def _one(self, point: Call) -> Iterator[str]:
        scenario = self._scenario
        ran, calls = self._colibri.traced(
            *self._command, stdin=scenario.stdin, every=self._every, kill_at=point
        )
        yield from self._hit(point, ran.status, self._counted(calls))
        yield from scenario.moment(self._before, self._facts(), self._after)
        again, verify, audit = self._colibri.run_all(
            self._command, VERIFY, AUDIT, stdin=scenario.stdin
        )
        if again.status not in scenario.again:
            yield f"rerun: {again.status} {again.stderr}"
        mended = self._facts()
        yield from scenario.settled(self._before, mended, self._after)
        yield from checks.verified(verify, audit)
        if scenario.repeats:
            yield from self._repeat(mended)

    def _repeat(self, mended: Facts) -> Iterator[str]:
        stamps = [self._stamps()]
        once_more = self._colibri.run(*self._command, stdin=self._scenario.stdin)
        if once_more.status not in self._scenario.again:
            yield f"no-op: {once_more.status} {once_more.stderr}"
        stamps.append(self._stamps())
        yield from checks.unchanged(mended, self._facts(), stamps)

    def _hit(self, point: Call, status: int, calls: Sequence[Call]) -> Iterator[str]:
        """Yield why the kill was not where it was meant to be."""
        if status not in self._scenario.killed:
            yield f"missed: the run ended with {status}"
        if self._every or self._scenario.alone or not self._scenario.exact:
            return
        spelled = [call.name for call in calls if call.changes]
        changing = [call for call in self.calls if call.changes]
        wanted = self._spelling[: changing.index(point) + 1]
        if spelled != wanted:
            where = calls[-1] if calls else "nothing"
            yield f"missed: the run was at {where} after {spelled[-4:]}, not {wanted[-4:]}"

    def _stamps(self) -> dict[str, tuple[int, int]]:
        found = {}
        for path in self._state.glob("jails/*/root/.env"):
            status = path.lstat()
            found[str(path)] = (status.st_ino, status.st_mtime_ns)
        return found

    def _facts(self) -> Facts:
        return Facts(place.picture(self._state))
