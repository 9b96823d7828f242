"""The static attacks: a hostile tenant each, one `provision --all`, and what it left behind."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cli.proof import oracle
from cli.proof.attacks import ATTACKS, Attack, Spot, make_spot
from cli.proof.host import Answer
from cli.proof.outcome import FailedError, NotShownError, need
from cli.proof.world import ENV_PATH, FILE_MODE, TENANT, World, lines, result, same_values

REFUSED: Final = f"{TENANT}-value"
DOTS: Final = f"{TENANT}-dots"
RACER: Final = f"{TENANT}-race"
SECRET: Final = {"TOKEN": "marked-for-the-jail-only"}
AWKWARD: Final = 'two words, a $dollar and a "quote"'


@dataclass(slots=True)
class Siege:
    """The hostile tenants of one run, and what was seen of them."""

    world: World
    spots: dict[str, Spot] = field(default_factory=dict)
    before: dict[str, oracle.Picture] = field(default_factory=dict)
    roots: dict[str, Path] = field(default_factory=dict)
    items: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    dots: Answer | None = None
    impossible: dict[str, str] = field(default_factory=dict)

    def prepare(self) -> str:
        """Register the tenants, let each do its worst, deliver to all at once."""
        self._register()
        planted = [attack for attack in ATTACKS if self._plant(attack)]
        answer = self.world.host.run("provision", "--all", "--json", expect=(9,))
        self.items = {item["tenant_id"]: item for item in result(answer)["items"]}
        counts = [item["result"] for item in self.items.values()]
        kept, refused = len(counts) - counts.count("failed"), counts.count("failed")
        done = f"{kept} delivered, {refused} refused (status 9)"
        return f"{len(counts)} tenants in one run, {len(planted)} of them hostile: {done}"

    def _register(self) -> None:
        world = self.world
        names = [_tenant(attack.name) for attack in ATTACKS] + [RACER]
        runs: list[tuple[list[str], bytes]] = []
        for name in names:
            runs.append((["secret", "import", name, "-"], lines(SECRET)))
            runs.append((world.register(name), b""))
        runs.append((["secret", "import", REFUSED, "-"], f"GREETING='{AWKWARD}'\nOK=1\n".encode()))
        runs.append((world.register(REFUSED), b""))
        runs.append((world.register(DOTS, "/home/app/../../../../outside/.env"), b""))
        world.host.watch_for([*SECRET.values(), AWKWARD])
        answers = world.batch([([*argv], stdin) for argv, stdin in runs])
        *good, self.dots = answers
        for answer in good:
            world.host.checked(answer)
            if answer.argv[0] == "register-tenant":
                self.roots[answer.argv[1]] = Path(result(answer)["tenant"]["jail_root"])

    def _plant(self, attack: Attack) -> bool:
        spot = Spot(self.roots[_tenant(attack.name)], self.world.outside / attack.name)
        make_spot(spot)
        self.spots[attack.name] = spot
        if attack.needs_root and not self.world.as_root:
            self.impossible[attack.name] = "only root can make device nodes"
            return False
        try:
            attack.plant(spot)
        except PermissionError as error:
            self.impossible[attack.name] = f"this host does not let us: {error.strerror}"
            return False
        self._give_away(spot)
        self.before[attack.name] = oracle.picture(spot.decoy) | _other(spot)
        return True

    def _give_away(self, spot: Spot) -> None:
        """Make the tenant own what it planted, but for the other's file and what leads outside."""
        if not spot.root.is_symlink() and not spot.app.is_symlink():
            self.world.owned_by(spot.app)

    def judge(self, attack: Attack) -> str:
        """Say how the attack ended; raise FailedError if anything gave way."""
        if attack.name in self.impossible:
            raise NotShownError(self.impossible[attack.name])
        need(attack.name in self.before, "it was never planted")
        spot, item = self.spots[attack.name], self.items.get(_tenant(attack.name), {})
        touched = self._touched(attack, spot)
        need(not touched, f"ESCAPE: outside the jail changed: {', '.join(touched[:4])}")
        error = item.get("error") or {}
        if attack.refused:
            need(
                item.get("result") == "failed" and error.get("code") == attack.refused,
                f"{attack.refused} was expected, it was {error.get('code') or item.get('result')}",
            )
            self._must_be_as_planted(attack, spot)
            return f"refused: {attack.refused}"
        need(
            item.get("result") == "delivered" and item.get("displaced") == attack.replaced,
            f"a replaced {attack.replaced} was expected, it was {error.get('code')}"
            f" {item.get('result')} {item.get('displaced')}",
        )
        self._must_be_delivered(spot)
        if attack.replaced == "file":
            return "a new inode took the name, the other file is as it was"
        return f"{attack.replaced} replaced, neither opened nor followed"

    def _touched(self, attack: Attack, spot: Spot) -> list[str]:
        after = oracle.picture(spot.decoy) | _other(spot)
        before = self.before[attack.name]
        # A replaced hard link takes one name from the other file: links and ctime, nothing else.
        if attack.replaced == "file":
            before, after = ({k: _without_links(v) for k, v in p.items()} for p in (before, after))
        return oracle.differences(before, after)

    def _must_be_as_planted(self, attack: Attack, spot: Spot) -> None:
        if attack.name == "directory":
            need((spot.target / "keep").is_file(), "the tenant's directory was emptied")
        else:
            need(not spot.target.exists(), "a file was written all the same")

    def _must_be_delivered(self, spot: Spot) -> None:
        status = spot.target.lstat()
        need(stat.S_ISREG(status.st_mode), "no regular file stands there")
        need(stat.S_IMODE(status.st_mode) == FILE_MODE, "its mode is not 0600")
        need((status.st_uid, status.st_gid) == self.world.owner, "its owner is wrong")
        need(status.st_nlink == 1, "it has a second name")
        need(not same_values(spot.target.read_bytes(), SECRET), "its bytes are wrong")

    def dots_refused(self) -> str:
        """Say how `..` in an env path ended."""
        need(self.dots is not None, "it was never tried")
        assert self.dots is not None  # noqa: S101 - for the type checker
        need(self.dots.code == "bad_path", self.dots.shown())
        return "refused before any system call: bad_path"

    def value_refused(self) -> str:
        """Say how a value that readers disagree about ended."""
        item = self.items.get(REFUSED, {})
        error = item.get("error") or {}
        said = f"{error.get('message', '')} {error.get('hint', '')}"
        need(error.get("code") == "secret_value_unrepresentable", f"it was {item.get('result')}")
        need("GREETING" in said and "shell" in said, f"key or profiles are not named: {said}")
        need(not (self.roots[REFUSED] / ENV_PATH[1:]).exists(), "a file was written all the same")
        names = "dotenv, shell" if "dotenv" in said else "shell"
        return f"refused: names GREETING and profiles that can carry it ({names}, …)"

    def control(self) -> str:
        """Let writers of the usual kind meet the same attacks; each must fall, or we are blind."""
        twins = {a.name: a for a in ATTACKS if a.control and a.name not in self.impossible}
        spots = {name: self._twin(attack) for name, attack in twins.items()}
        before = {name: oracle.picture(spot.decoy) | _other(spot) for name, spot in spots.items()}
        uid, gid = self.world.owner
        jobs = [
            {
                "writer": attack.control,
                "root": str(spots[name].root),
                "name": ENV_PATH[1:],
                "uid": uid,
                "gid": gid,
            }
            for name, attack in twins.items()
        ]
        answers = self.world.host.script("naive.py", {"jobs": jobs})
        standing = [
            name
            for name, answer in zip(twins, answers, strict=True)
            if not _fell(name, answer["result"], before[name], spots[name])
        ]
        need(not standing, f"inconclusive: the control survived {', '.join(standing)}")
        inside = os.path.realpath(spots["blind-chain"].target)
        need(
            inside.startswith(f"{spots['blind-chain'].root}/"),
            "inconclusive: realpath() was not blind to the chain",
        )
        return f"writers that trust names fell for all {len(twins)} of their kind"

    def _twin(self, attack: Attack) -> Spot:
        top = self.world.place.path / "twins" / attack.name
        spot = Spot(top / "root", top / "outside")
        spot.app.mkdir(parents=True)
        make_spot(spot)
        attack.plant(spot)
        return spot


def _tenant(attack: str) -> str:
    return f"{TENANT}-{attack}"


def _other(spot: Spot) -> oracle.Picture:
    if spot.root.is_symlink() or not spot.other.exists():
        return {}
    return {"the other file": oracle.picture(spot.other)["."]}


def _without_links(entry: tuple[object, ...]) -> tuple[object, ...]:
    links, changed = 5, 8
    return tuple(value for number, value in enumerate(entry) if number not in {links, changed})


def _fell(name: str, answer: str, before: oracle.Picture, spot: Spot) -> bool:
    if name == "fifo":
        return answer == "it hung"
    if name == "device":
        return answer == "written" and not stat.S_ISREG(spot.target.lstat().st_mode)
    return bool(oracle.differences(before, oracle.picture(spot.decoy) | _other(spot)))


def must_run(siege: Siege) -> None:
    """Raise FailedError unless the hostile tenants were delivered to."""
    if not siege.items:
        raise FailedError("the hostile tenants never came to a delivery")
