"""The race: one attacker in the jail; against it a writer of the usual kind, then colibri."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cli.proof.host import Child
from cli.proof.outcome import FailedError, need
from cli.proof.siege import RACER, SECRET
from cli.proof.world import ENV_PATH, World, lines

SECONDS: Final = 2.0
MOST_SECONDS: Final = 20.0
CONTROL_SECONDS: Final = 5.0
LEAST_LOSSES: Final = 5
ENOUGH_LOSSES: Final = 50
LEAST_SUCCESSES: Final = 10
# Everything a delivery may answer while its tree moves; any other word fails the proof.
KNOWN: Final = frozenset({"delivered", "path_not_plain", "tampered"})


@dataclass(slots=True)
class Race:
    """One attacker for both writers, from the first step to the second."""

    world: World
    root: Path
    attacker: Child | None = None

    @property
    def outside(self) -> Path:
        """Where the attacker's link leads."""
        return self.world.outside / "race"

    def control(self) -> str:
        """Start the attacker; let the usual writer lose to it."""
        self.outside.mkdir(parents=True)
        (self.outside / "victim").write_text("of the host\n")
        arguments = ("home/app", str(self.outside))
        self.attacker = self.world.host.start_inside(
            "attacker.py", self.root, self.world.owner, *arguments
        )
        self._await_ready()
        answer = self.world.host.script(
            "naive.py", {**self._job(), "seconds": CONTROL_SECONDS, "losses": ENOUGH_LOSSES}
        )
        figures = self.world.figures
        figures.naive_attempts, figures.naive_losses = answer["attempts"], answer["losses"]
        seen = (
            f"realpath() and a check: {answer['losses']} escapes in {answer['attempts']:,} attempts"
        )
        need(answer["losses"] >= LEAST_LOSSES, f"inconclusive, the control did not lose: {seen}")
        return seen

    def run(self) -> str:
        """Deliver for two seconds under the same attacker; look outside after every attempt."""
        need(self.attacker is not None, "there is no attacker")
        argv = ["provision", RACER, "--json"]
        content = self._header() + lines(SECRET)
        job = {**self._job(), "mode": "race", "argv": argv, "content": content.decode()}
        limits = {"seconds": SECONDS, "least": LEAST_SUCCESSES, "most_seconds": MOST_SECONDS}
        answer = self.world.host.script("driver.py", job | limits)
        assert self.attacker is not None  # noqa: S101 - for the type checker
        self._count(answer, self.world.host.finish_inside("attacker.py", self.attacker))
        return self._verdict(answer)

    def _count(self, answer: dict[str, Any], attack: dict[str, Any]) -> None:
        figures = self.world.figures
        figures.attempts, figures.escapes = answer["attempts"], answer["escapes"]
        figures.histogram.update(answer["histogram"])
        figures.exchanges, figures.exchange_seconds = attack["exchanges"], attack["seconds"]
        figures.confined = attack["confined"]

    def _verdict(self, answer: dict[str, Any]) -> str:
        figures = self.world.figures
        unknown = sorted(set(figures.histogram) - KNOWN)
        delivered = figures.histogram["delivered"]
        seen = ", ".join(f"{count} {what}" for what, count in figures.histogram.most_common())
        need(not figures.escapes, f"ESCAPE: {figures.escapes} of {figures.attempts} attempts")
        need(not answer["lost"], f"{answer['lost']} deliveries were reported and are not there")
        need(not unknown, f"it answered what nobody expects: {', '.join(unknown)} ({seen})")
        need(delivered >= LEAST_SUCCESSES, f"inconclusive, too few deliveries: {seen}")
        need(answer["directories"] <= 0, f"{answer['directories']} directories were left open")
        against = f"against {figures.exchanges:,} exchanges"
        return f"0 escapes in {figures.attempts:,} attempts {against} ({seen})"

    def _job(self) -> dict[str, Any]:
        uid, gid = self.world.owner
        return {
            "command": str(self.world.host.command),
            "parent": str(self.root / "home" / "app"),
            "file": ".env",
            "outside": str(self.outside),
            "root": str(self.root),
            "name": ENV_PATH[1:],
            "uid": uid,
            "gid": gid,
        }

    def _header(self) -> bytes:
        header, _, _ = self.world.must_read().partition(b"\n")
        return header + b"\n"

    def _await_ready(self) -> None:
        assert self.attacker is not None  # noqa: S101 - for the type checker
        stdout, stderr = self.attacker.stdout, self.attacker.stderr
        assert stdout is not None  # noqa: S101 - for the type checker
        assert stderr is not None  # noqa: S101 - for the type checker
        if stdout.readline() != b"ready\n":
            said = stderr.read().decode(errors="replace").strip().splitlines()
            raise FailedError(f"the attacker did not start: {said[-1] if said else 'no word'}")
