"""The first proof: colibri's whole job in a scratch place, watched by processes of their own.

It drives the installed command as an operator would (decision 25). What stands in this package
besides are clients, readers and attackers: part of the proof, not of the product.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from cli import output
from cli.proof.checklist import Checklist, for_stdout
from cli.proof.ending import Ending
from cli.proof.host import Host, installed
from cli.proof.outcome import FAILED, NOT_SHOWN, OK, FailedError, NotShownError, Result
from cli.proof.place import Place, candidates, scratch
from cli.proof.steps import Step, Story
from cli.proof.world import World
from vault_svc.errors import ColibriError

JAIL_USER = 1000


def run(*, as_json: bool, command: Path | None = None) -> int:
    """Do the whole job once; return 0 if every step held, 1 if one did not.

    command: another console script than the one installed beside this interpreter. Raises
    `unsafe_base` when there is no safe place, `helper_missing` when there is no command.
    """
    command = command or installed()
    if not os.access(command, os.X_OK):
        raise ColibriError(
            "helper_missing", f"there is no command '{command}'", hint="install colibri: make setup"
        )
    shown, ending, started = for_stdout(as_json=as_json), Ending(), time.monotonic()
    results: list[Result] = []
    with ending.polite(), scratch(candidates(os.environ), ending) as place:
        world = _world(place, command, ending)
        shown.say(f"first proof in {place.path}, in the {place.kind}, as {_who()}")
        try:
            _play(Story(world).steps(), shown, results)
        finally:
            with ending.held():
                world.host.stop()
    results.append(_removed(place, shown))
    receipt = _receipt(world, results, (time.monotonic() - started) * 1000)
    if as_json:
        output.document("first-proof", receipt)
    else:
        shown.say("")
        shown.say(_summary(receipt))
    return int(not receipt["ok"])


def _world(place: Place, command: Path, ending: Ending) -> World:
    for name in ("home", "outside"):
        (place.path / name).mkdir(mode=0o700)
    settings = place.path / "colibri.toml"
    settings.write_text("")
    environment = {
        "COLIBRI_CONFIG": str(settings),
        "COLIBRI_DAEMON_DATA_DIR": str(place.path / "state"),
        "COLIBRI_HOST": "first-proof",
    }
    root = os.geteuid() == 0
    owner = (JAIL_USER, JAIL_USER) if root else (os.geteuid(), os.getegid())
    return World(place, Host(command, place.path / "home", environment, ending), owner)


def _play(steps: list[Step], shown: Checklist, results: list[Result]) -> None:
    section, stopped = "", ""
    for step in steps:
        if step.section != section:
            section = step.section
            shown.section(section)
        if stopped:
            result = Result(step.name, step.title, NOT_SHOWN, f"because {stopped} failed", 0.0)
        else:
            with shown.running(step.title):
                result = _acted(step)
        if step.essential and result.state == FAILED:
            stopped = f"'{step.title}'"
        results.append(result)
        shown.show(result)


def _acted(step: Step) -> Result:
    started = time.monotonic()
    try:
        state, seen = OK, step.act()
    except FailedError as error:
        state, seen = FAILED, str(error)
    except NotShownError as error:
        state, seen = NOT_SHOWN, str(error)
    except (OSError, KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
        # What the command answered or left did not have the shape that the step relies on.
        state, seen = FAILED, f"{type(error).__name__}: {error}"
    return Result(step.name, step.title, state, seen, (time.monotonic() - started) * 1000)


def _removed(place: Place, shown: Checklist) -> Result:
    started, title = time.monotonic(), "nothing is left behind"
    gone = not os.path.lexists(place.path)
    seen = "the scratch place is removed" if gone else f"'{place.path}' is still there"
    elapsed = (time.monotonic() - started) * 1000
    result = Result("clean", title, OK if gone else FAILED, seen, elapsed)
    shown.show(result)
    return result


def _receipt(world: World, results: list[Result], elapsed_ms: float) -> dict[str, Any]:
    states = [result.state for result in results]
    return {
        "ok": FAILED not in states,
        "uid": os.geteuid(),
        "place": {"kind": world.place.kind, "path": str(world.place.path)},
        "engine": world.engine,
        "command": str(world.host.command),
        "elapsed_ms": round(elapsed_ms, 1),
        "steps": [result.body() for result in results],
        **world.figures.body(),
    }


def _summary(receipt: dict[str, Any]) -> str:
    states = [step["state"] for step in receipt["steps"]]
    failed, unseen = states.count(FAILED), states.count(NOT_SHOWN)
    said = f"{states.count(OK)} steps held"
    said += f", {failed} FAILED" if failed else ""
    said += f", {unseen} could not be shown here" if unseen else ""
    return f"{said}; {receipt['elapsed_ms'] / 1000:.1f} s"


def _who() -> str:
    return "root" if os.geteuid() == 0 else f"uid {os.geteuid()}"
