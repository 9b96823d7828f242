"""The steps of the proof, in order: set up, deliver, attack, fail, take away."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from cli.proof import oracle
from cli.proof.attacks import ATTACKS
from cli.proof.outcome import FailedError, NotShownError, need
from cli.proof.race import Race
from cli.proof.siege import RACER, Siege, must_run
from cli.proof.world import ENV_PATH, FILE_MODE, TENANT, World, lines, result, same_values

LEAST_KILLS: Final = 5
KILL_SECONDS: Final = 1.5
_HOW: Final = {
    "chroot": "by chroot",
    "user namespace": "in a user namespace",
    "plain": "by its host path (no user namespaces here)",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step: act returns what was seen, or raises FailedError or NotShownError.

    essential: without it the following steps mean nothing.
    """

    section: str
    name: str
    title: str
    act: Callable[[], str]
    essential: bool = False


class Story:
    """One tenant's life, step by step."""

    def __init__(self, world: World) -> None:
        """Take the world; do nothing yet."""
        self.world = world
        self.siege = Siege(world)
        self.race: Race | None = None
        self.old = b""

    def steps(self) -> list[Step]:
        """Return every step, in order."""
        first = [
            Step("Set up", "init", "state directory", self.init, essential=True),
            Step("Set up", "collection", "throwaway collection", self.collect, essential=True),
            Step("Set up", "register", "tenant and scratch jail", self.register, essential=True),
            Step("Deliver", "provision", "delivered", self.provision, essential=True),
            Step("Deliver", "read-inside", "read inside the jail", self.read_inside),
            Step("Deliver", "owner-and-mode", "owner and mode", self.owner_and_mode),
            Step("Deliver", "nobody-else", "closed to others inside", self.nobody_else),
            Step("Deliver", "list-tenants", "listed", self.list_tenants),
            Step("Deliver", "unchanged", "delivered again: nothing to do", self.unchanged),
            Step("Deliver", "rotate", "a value rotated", self.rotate),
            Step("Deliver", "drift", "a change in the jail is seen", self.drift),
            Step("Deliver", "repair", "and mended", self.repair),
        ]
        hostile = [
            Step("Attack", attack.name, attack.title, partial(self._judge, attack.name))
            for attack in ATTACKS
        ]
        attack = [
            Step("Attack", "hostile-tenants", "hostile tenants at once", self.siege.prepare),
            *hostile,
            Step("Attack", "dot-dot", "`..` in an env path", self.siege.dots_refused),
            Step("Attack", "control", "control: others fall for these", self._control),
            Step("Attack", "race-control", "control: a naive writer, raced", self._race_control),
            Step("Attack", "race", "race: parent swapped for a link", self._race),
        ]
        last = [
            Step("Go wrong", "value-refused", "a value readers disagree on", self._value_refused),
            Step("Go wrong", "source-failure", "the source broken", self.source_failure),
            Step("Go wrong", "kill", "killed in the middle (kill -9)", self.kill),
            Step("Take away", "revoke", "revoked", self.revoke),
            Step("Take away", "stays-revoked", "stays revoked", self.stays_revoked),
            Step("Take away", "offboard", "offboarded", self.offboard),
            Step("Take away", "audit", "audit log intact", self.audit),
            Step("Take away", "audit-edited", "an edited log is noticed", self.audit_edited),
            Step("Take away", "audit-cut", "a cut log is noticed", self.audit_cut),
        ]
        return [*first, *attack, *last]

    def init(self) -> str:
        """Make the state; see which engines this host has."""
        made = result(self.world.host.run("init", "--json"))["made"]
        checks = result(self.world.host.run("doctor", "--json"))["items"]
        states = {check["name"]: check for check in checks}
        if states.get("engine bubblewrap", {}).get("state") == "ok":
            self.world.engine = "bubblewrap"
        walk = states.get("confined write", {}).get("seen", "?")
        return f"{len(made)} things made, doctor is content, confined write {walk}"

    def collect(self) -> str:
        """Fill a collection; values go in by stdin."""
        world = self.world
        world.host.watch_for([v for v in world.values.values() if len(v) > len("postgres")])
        given = lines(world.values)
        answer = result(world.host.run("secret", "import", TENANT, "-", "--json", stdin=given))
        size = f"{len(given):,} bytes"
        return f"{len(world.values)} values by stdin ({size}), revision {answer['revision']}"

    def register(self) -> str:
        """Register the tenant with a jail of its own."""
        row = result(self.world.host.run(*self.world.register(TENANT)))["tenant"]
        self.world.root = Path(row["jail_root"])
        need(self.world.root.is_dir(), f"the jail's root '{self.world.root}' is not there")
        real = "real namespaces" if self.world.engine == "bubblewrap" else "a plain tree"
        return f"engine {row['engine']} ({real}), file {row['env_path']}, {row['status']}"

    def provision(self) -> str:
        """Deliver for the first time."""
        answer = self.world.host.run("provision", TENANT, "--json")
        outcome = result(answer)
        need(outcome["result"] == "delivered", f"it was {outcome['result']}")
        receipt = outcome["receipt"]
        keys, size = len(receipt["keys"]), f"{receipt['size']:,} bytes"
        return f"{keys} keys, {size}, generation {receipt['generation']}"

    def read_inside(self) -> str:
        """Read the file as the agent and compare bytes."""
        seen = self.world.read_inside()
        need(not seen["error"], f"the agent cannot read its file: {seen['error']}")
        wrong = same_values(seen["content"], self.world.values)
        need(not wrong, wrong)
        how = f"{_HOW.get(seen['how'], seen['how'])} as uid {self.world.owner[0]}"
        if self.world.engine == "bubblewrap":
            need(self._by_bubblewrap() == seen["content"], "bubblewrap shows another file")
            how += ", and in real namespaces"
        return f"{how}: {len(self.world.values)} values byte for byte"

    def _by_bubblewrap(self) -> bytes:
        root, (uid, gid) = str(self.world.root), self.world.owner
        command = ["bwrap", "--die-with-parent", "--unshare-all", "--new-session"]
        command += ["--ro-bind", root, "/", "--bind", f"{root}/home", "/home"]
        for part in ("usr", "bin", "lib", "lib64"):
            if Path("/", part).is_dir():
                command += ["--ro-bind", f"/{part}", f"/{part}"]
        as_user = ["--uid", str(uid), "--gid", str(gid)]
        if not self.world.as_root:
            return self.world.host.output([*command, *as_user, "--", "cat", ENV_PATH])
        command.remove("--unshare-all")
        command += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        become = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
        return self.world.host.output([*command, "--", *become, "cat", ENV_PATH])

    def owner_and_mode(self) -> str:
        """Look at the inode."""
        status = self.world.target.lstat()
        need(stat.S_ISREG(status.st_mode), "it is no regular file")
        mode = stat.S_IMODE(status.st_mode)
        need(mode == FILE_MODE, f"its mode is {mode:04o}")
        owner = (status.st_uid, status.st_gid)
        need(owner == self.world.owner, f"it belongs to {owner[0]}:{owner[1]}")
        need(status.st_nlink == 1, f"it has {status.st_nlink} names")
        return f"0600, {owner[0]}:{owner[1]}, one name"

    def nobody_else(self) -> str:
        """Try to read it as another user of the jail."""
        if not self.world.as_root:
            raise NotShownError("an ordinary user cannot become another one")
        uid, gid = self.world.owner
        self.world.target.parent.chmod(0o755)  # so that only the file's own mode keeps it out
        try:
            seen = self.world.read_inside((uid + 1, gid + 1))
        finally:
            self.world.target.parent.chmod(0o700)
        need(seen["error"], f"uid {uid + 1} could read it")
        return f"uid {uid + 1} in the same jail: {seen['error']}"

    def list_tenants(self) -> str:
        """Look at the row."""
        rows = result(self.world.host.run("list-tenants", "--json"))["items"]
        need([row["tenant_id"] for row in rows] == [TENANT], "the rows are not this one tenant")
        row = rows[0]
        need((row["status"], row["generation"]) == ("active", 1), f"it is {row['status']}")
        return f"{row['tenant_id']} is {row['status']}, generation {row['generation']}"

    def unchanged(self) -> str:
        """Deliver again; nothing may move."""
        before = oracle.picture(self.world.target)
        outcome = result(self.world.host.run("provision", TENANT, "--json"))
        need(outcome["result"] == "unchanged", f"it was {outcome['result']}")
        need(oracle.picture(self.world.target) == before, "the file was touched")
        return f"same bytes, inode {self.world.target.lstat().st_ino} and mtime"

    def rotate(self) -> str:
        """Change a value; the new one must arrive as a new generation."""
        world, before = self.world, self.world.target.lstat().st_ino
        self.old, store = world.must_read(), oracle.picture(world.data / "store")
        world.values["API_KEY"] = fresh = "sk-" + secrets.token_urlsafe(24)
        world.host.watch_for([fresh])
        world.host.run("secret", "set", TENANT, "API_KEY", stdin=fresh.encode())
        changed = oracle.differences(store, oracle.picture(world.data / "store"))
        files = [world.data / "store" / name for name in changed if name.endswith(".age")]
        need(len(files) == 1, f"not one collection changed in the store but {len(files)}")
        world.collection_file = files[0]
        receipt = result(world.host.run("provision", TENANT, "--json"))["receipt"]
        need(receipt and receipt["generation"] == 2, "there is no generation 2")  # noqa: PLR2004
        wrong = same_values(world.must_read(), world.values)
        need(not wrong, wrong)
        need(world.target.lstat().st_ino != before, "the old inode was written to")
        return "generation 2, a new inode, the agent reads the new value"

    def drift(self) -> str:
        """Change the file as the tenant could; verify must see it."""
        with self.world.target.open("ab") as file:
            file.write(b"ADDED=by-the-tenant\n")
        self.world.target.chmod(0o644)
        answer = self.world.host.run("verify", TENANT, "--json", expect=(8,))
        found = result(answer)["items"][0]
        need(found["state"] == "drift", f"it was {found['state']}")
        return f"verify ends with status 8: {', '.join(found['drift'])}"

    def repair(self) -> str:
        """Mend it."""
        self.world.host.run("provision", TENANT, "--repair", "--json")
        self.owner_and_mode()
        wrong = same_values(self.world.must_read(), self.world.values)
        need(not wrong, wrong)
        self.world.host.run("verify", TENANT)
        return "bytes and mode are back, verify is content"

    def _judge(self, name: str) -> str:
        must_run(self.siege)
        return self.siege.judge(next(attack for attack in ATTACKS if attack.name == name))

    def _control(self) -> str:
        must_run(self.siege)
        return self.siege.control()

    def _value_refused(self) -> str:
        must_run(self.siege)
        return self.siege.value_refused()

    def _race_control(self) -> str:
        must_run(self.siege)
        self.race = Race(self.world, self.siege.roots[RACER])
        return self.race.control()

    def _race(self) -> str:
        if self.race is None:
            raise FailedError("there is no attacker")
        return self.race.run()

    def source_failure(self) -> str:
        """Break the collection's file; the delivered one must stay."""
        world, path = self.world, self.world.collection_file
        if path is None:
            raise FailedError("the collection's file was never found")
        whole, before = path.read_bytes(), oracle.picture(world.target)
        try:
            path.write_bytes(whole[: len(whole) // 2] + secrets.token_bytes(len(whole) // 2))
            answer = world.host.run("provision", TENANT, "--json", expect=(6,))
        finally:
            path.write_bytes(whole)
        need(oracle.picture(world.target) == before, "the last good file was touched")
        outcome = result(world.host.run("provision", TENANT, "--json"))
        need(outcome["result"] == "unchanged", f"after mending it was {outcome['result']}")
        return f"{answer.code} (status 6), the last good file stays"

    def kill(self) -> str:
        """Kill deliveries at moments spread over a whole run, then run once more."""
        world = self.world
        content, old = world.must_read(), self.old
        need(content != old, "there is no older file to tell from the new one")
        uid, gid = world.owner
        job = {
            "mode": "kill",
            "command": str(world.host.command),
            "argv": ["provision", TENANT, "--json"],
            "seconds": KILL_SECONDS,
            "least": LEAST_KILLS,
            "most_seconds": 10 * KILL_SECONDS,
            "parent": str(world.target.parent),
            "outside": str(world.place.path),
            "file": world.target.name,
            "uid": uid,
            "gid": gid,
            "old": old.decode(),
            "content": content.decode(),
        }
        found = world.host.script("driver.py", job)
        world.figures.kills = found["kills"]
        need(not found["torn"], f"{found['torn']} runs left a file that is neither old nor new")
        need(found["kills"] >= LEAST_KILLS, f"inconclusive, only {found['kills']} runs were killed")
        world.host.run("provision", TENANT, "--json")
        need(world.must_read() == content, "the next run did not deliver")
        left = [path.name for path in world.target.parent.iterdir()]
        need(left == [world.target.name], f"something is left beside the file: {left}")
        seen = f"{found['old']} old and {found['new']} new files, all whole"
        return f"{found['kills']} kills: {seen}; the next run mends"

    def revoke(self) -> str:
        """Take the secret back."""
        answer = result(self.world.host.run("revoke", TENANT, "--json"))
        need(not os.path.lexists(self.world.target), "the file is still there")
        seen = self.world.read_inside()
        need(seen["error"], "the agent can still read it")
        return f"the file is gone ({seen['error']}), tenant {answer['tenant']['status']}"

    def stays_revoked(self) -> str:
        """Provisioning must not put it back."""
        answer = self.world.host.run("provision", TENANT, expect=(5,))
        need(answer.code == "tenant_suspended", answer.shown())
        need(not os.path.lexists(self.world.target), "the file is back")
        return "provisioning is refused: tenant_suspended (status 5)"

    def offboard(self) -> str:
        """Close the row for good."""
        answer = result(self.world.host.run("offboard", TENANT, "--json"))
        need(answer["tenant"]["status"] == "offboarded", f"it is {answer['tenant']['status']}")
        return "the row is closed for good"

    def audit(self) -> str:
        """Walk the chain."""
        verdict = result(self.world.host.run("audit", "verify", "--json"))
        need(verdict["intact"], "it is broken")
        repairs = f", {verdict['repairs']} repaired after kills" if verdict["repairs"] else ""
        return f"{verdict['lines']} chained lines{repairs}"

    def audit_edited(self) -> str:
        """Edit one byte of an old line."""
        return self._tampered(
            lambda text: text.replace(b'"tenant_registered"', b'"tenant_rEgistered"', 1)
        )

    def audit_cut(self) -> str:
        """Cut the newest line off."""
        return self._tampered(lambda text: text[: text.rstrip(b"\n").rindex(b"\n") + 1])

    def _tampered(self, change: Callable[[bytes], bytes]) -> str:
        path = max((self.world.data / "audit").glob("*.jsonl"))
        whole = path.read_bytes()
        changed = change(whole)
        need(changed != whole, "nothing to change was found in the log")
        try:
            path.write_bytes(changed)
            answer = self.world.host.run("audit", "verify", expect=(10,))
        finally:
            path.write_bytes(whole)
        need(answer.code == "audit_broken", answer.shown())
        where = answer.said.partition(": ")[2].partition(" (hint")[0]
        return f"audit_broken (status 10): {where}"
