"""One raced cell: the naive writer must lose to the attacker, ours must win and never lose.

Rules of containment.md: positive control, success floor, reset between attempts, an oracle that
knows owners, the attacker's rate, a histogram of outcomes, nothing unknown among them.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.kit.arena import Arena
from tests.kit.attackers import Attacker
from tests.kit.oracle import Guard, Watch
from vault_svc.errors import ColibriError
from vault_svc.hazmat.confine_error import Refused

SCALE = float(os.environ.get("COLIBRI_TEST_RACE_SCALE", "1"))
LOSSES = 5
FLOOR = 10
MOST = 50
SLOWEST_EXCHANGE = 50_000
CONTROL_SECONDS = 15.0
total = Counter[str]()


@dataclass
class Race:
    """What is raced: attackers, our writer and a naive one, how to reset, what counts as a loss.

    ours and naive take the attempt's number and raise when they refuse. lost(number, ok) looks
    at the jail itself after an attempt; the host is looked at by guard. allowed: the words of
    refusals (Reason values or codes) that this attack may cause.
    """

    arena: Arena
    attacks: list[dict]
    ours: Callable[[int], object]
    naive: Callable[[int], object]
    guard: Guard
    allowed: set[str]
    reset: Callable[[int], None] = lambda _: None
    lost: Callable[[int, bool], str] = lambda _n, _ok: ""
    naive_attacks: list[dict] | None = None
    floor: int = FLOOR
    fast: bool = False
    outcomes: Counter[str] = field(default_factory=Counter)

    def run(self, name: str, attempts: int) -> None:
        """Run control and race; raise AssertionError on a loss or an inconclusive run."""
        attempts = max(int(attempts * SCALE), 2 * self.floor)
        won = self._control()
        assert won >= LOSSES, f"inconclusive: the naive writer lost only {won} times"
        with contextlib.ExitStack() as stack:
            running = self._start(stack, self.attacks)
            losses = self._race(attempts)
            assert all(each.alive() for each in running), "inconclusive: an attacker died"
        self._tell(name, won, running, losses)
        assert not losses, losses[:5]
        strange = set(self.outcomes) - self.allowed - {"ok"}
        assert not strange, f"unknown outcomes: {strange}"
        assert self.outcomes["ok"] >= self.floor, "inconclusive: refusing everything is no proof"
        if self.fast:
            slowest = min(each.rate for each in running)
            assert slowest >= SLOWEST_EXCHANGE, f"inconclusive: {slowest:.0f} exchanges/s"

    def _start(self, stack: contextlib.ExitStack, attacks: list[dict]) -> list[Attacker]:
        root = str(self.arena.root)
        running = [stack.enter_context(Attacker(root, **attack)) for attack in attacks]
        assert all(each.alive() for each in running)
        return running

    def _control(self) -> int:
        """Count the naive writer's losses, until there are enough or time is up."""
        losses, number, end = 0, 0, time.monotonic() + CONTROL_SECONDS
        with contextlib.ExitStack() as stack:
            self._start(stack, self.naive_attacks or self.attacks)
            watch = stack.enter_context(Watch())
            while losses < LOSSES and time.monotonic() < end:
                number += 1
                watch.beats += 1
                self.reset(-number)
                word = _attempt(self.naive, -number)
                touched = self.guard.touched()
                if touched or self.lost(-number, word == "ok"):
                    losses += 1
                if touched:
                    self.guard.restore()
        self.guard.restore()
        return losses

    def _race(self, attempts: int) -> list[str]:
        """Race, and longer while there are too few successes: a refusal is quicker by far."""
        losses = []
        with Watch() as watch:
            for number in range(1, MOST * attempts):
                if number > attempts and self.outcomes["ok"] >= self.floor:
                    break
                watch.beats += 1
                self.reset(number)
                word = _attempt(self.ours, number)
                self.outcomes[word] += 1
                if self.guard.touched():
                    losses.append(f"attempt {number}: the host changed ({word})")
                    self.guard.restore()
                if found := self.lost(number, word == "ok"):
                    losses.append(f"attempt {number}: {found} ({word})")
        return losses

    def _tell(self, name: str, won: int, running: list[Attacker], losses: list[str]) -> None:
        attempts = self.outcomes.total()
        total["attempts"] += attempts
        total["escapes"] += len(losses)
        rates = ", ".join(f"{each.rate:,.0f}" for each in running)
        print(
            f"\nrace {name}: {attempts} attempts, {len(losses)} lost; naive lost {won};"
            f" attackers {rates} moves/s; {dict(self.outcomes.most_common())};"
            f" raced so far {total['attempts']}",
            file=sys.stderr,
        )


def _attempt(act: Callable[[int], object], number: int) -> str:
    """Run one attempt and return its outcome as a word; a hang is raised through."""
    try:
        act(number)
    except Refused as refused:
        return str(refused.reason)
    except ColibriError as error:
        return error.code
    except Exception as error:
        return type(error).__name__
    return "ok"
