"""The commands that are killed, and the state each of them finds."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

from tests.crash import checks
from tests.crash.driver import Colibri
from tests.crash.facts import Facts
from tests.crash.sweep import Scenario
from tests.crash.tracing import Call
from vault_svc.domain.receipt import Receipt

OLD, NEW = "the-old-value", "a-new-and-rather-longer-value"


def _register(colibri: Colibri, tenant: str, value: str = OLD) -> None:
    colibri.must("secret", "set", tenant, "API_KEY", stdin=value)
    colibri.must("register-tenant", tenant, "--create-jail", "--tier", "scratch")


def _set(colibri: Colibri, tenant: str, value: str) -> None:
    colibri.must("secret", "set", tenant, "API_KEY", stdin=value)


def _first(colibri: Colibri, state: Path) -> None:
    colibri.must("init")
    _register(colibri, "acme")


def _delivered(colibri: Colibri, state: Path) -> None:
    _first(colibri, state)
    colibri.must("provision", "acme")


def _changed(colibri: Colibri, state: Path) -> None:
    _delivered(colibri, state)
    _set(colibri, "acme", NEW)


def _drifted(colibri: Colibri, state: Path) -> None:
    """The tenant writes into its own file and opens it to others."""
    _delivered(colibri, state)
    path = state / "jails/acme/root/.env"
    path.write_bytes(b"API_KEY=mine\n")
    path.chmod(0o644)


def _reverted(colibri: Colibri, state: Path) -> None:
    """A new value was announced, killed before it had its name, and then taken back."""
    _changed(colibri, state)
    ran, _ = colibri.traced("provision", "acme", kill_at=Call(0, "linkat", "", 1))
    assert ran.status == -signal.SIGKILL, ran
    _set(colibri, "acme", OLD)


def _fleet(colibri: Colibri, state: Path) -> None:
    """One tenant for each thing a batch can find: new, changed, replaced, unchanged."""
    colibri.must("init")
    for tenant in ("changed", "drifted", "fresh", "same"):
        _register(colibri, tenant)
        if tenant != "fresh":
            colibri.must("provision", tenant)
    _set(colibri, "changed", NEW)
    path = state / "jails/drifted/root/.env"
    path.unlink()
    path.write_bytes(b"")
    path.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(path, 0, 0)


def _jail_only(colibri: Colibri, state: Path) -> None:
    colibri.must("init")
    colibri.must("secret", "set", "acme", "API_KEY", stdin=OLD)
    colibri.must("jail", "create", "acme")


def _store_moment(before: Facts, now: Facts, after: Facts) -> Iterator[str]:
    """A collection is whole at every moment: the old revision or the new one."""
    yield from checks.moment(before, now, after)
    seen = now.secrets("acme")
    if seen not in (before.secrets("acme"), after.secrets("acme")):
        yield f"torn: the collection has revision {seen and seen[0]}"


def _store_settled(before: Facts, now: Facts, after: Facts) -> Iterator[str]:
    yield from checks.settled(before, now, after)
    seen = now.secrets("acme")
    if seen != after.secrets("acme"):
        yield f"state: the collection has revision {seen and seen[0]}"
    elif not now.seqs("", "collection_changed", revision=seen and seen[0], collection="acme"):
        yield f"lost-line: nothing says that the collection has revision {seen and seen[0]}"


def _ephemeral(colibri: Colibri, state: Path) -> None:
    colibri.must("init")
    _set(colibri, "acme", OLD)
    colibri.must("register-tenant", "acme", "--ephemeral", "--tier", "scratch")
    colibri.must("spawn-agent", "acme", "--ephemeral", "--", "/bin/true")


def _spawn_moment(before: Facts, now: Facts, after: Facts) -> Iterator[str]:
    """A jail made for one agent is on record as long as it is there."""
    if not now.log.startswith(before.log):
        yield "lost-line: the log does not begin with what it was before"
    jails = [name for name in now.names if name.startswith("jails/") and name.count("/") == 1]
    if jails and not any(name.endswith(".spawn") for name in now.names):
        yield f"orphan: nobody knows of {jails}"


def _spawn_settled(before: Facts, now: Facts, after: Facts) -> Iterator[str]:
    if now.names != after.names:
        yield f"leftover: {sorted(now.names ^ after.names)}"
    known = now.known["acme"]
    if known.intents or known.row.jail_root or isinstance(known.newest, Receipt):
        yield f"lying-row: {known.row.status}, root '{known.row.jail_root}', {known.newest}"
    for event in ("will_destroy_jail", "jail_destroyed", "removed"):
        if len(now.seqs("acme", event)) <= len(before.seqs("acme", event)):
            yield f"lost-line: nothing says {event}"


SCENARIOS = {
    each.name: each
    for each in (
        Scenario("provision-first", ("provision", "acme"), _first, floor=60),
        Scenario("provision-changed", ("provision", "acme"), _changed, floor=60),
        Scenario("provision-all", ("provision", "--all"), _fleet, floor=80, share=2),
        Scenario(
            "provision-repair", ("provision", "acme", "--repair"), _drifted, floor=50, share=2
        ),
        Scenario("provision-adopt", ("provision", "acme"), _reverted, floor=35, share=2),
        Scenario("revoke", ("revoke", "acme"), _delivered, floor=55),
        Scenario("offboard", ("offboard", "acme"), _delivered, floor=55),
        Scenario(
            "secret-set",
            ("secret", "set", "acme", "API_KEY"),
            _delivered,
            floor=30,
            stdin=NEW,
            share=3,
            repeats=False,  # each setting of a value is logged
            moment=_store_moment,
            settled=_store_settled,
        ),
        Scenario(
            "hook-run",
            ("hook", "run", "--jail", "acme", "--root", "{state}/jails/acme/root"),
            _changed,
            floor=40,
            killed=(-signal.SIGKILL, 10),
            share=5,
        ),
        Scenario(
            "spawn-agent",
            ("spawn-agent", "acme", "--ephemeral", "--", "/bin/true"),
            _ephemeral,
            floor=60,
            alone=True,
            share=8,
            repeats=False,  # each run of an agent is logged
            moment=_spawn_moment,
            settled=_spawn_settled,
        ),
        Scenario(
            "register-tenant",
            ("register-tenant", "acme", "--tier", "scratch"),
            _jail_only,
            floor=45,
            share=3,
            again=(0, 7),
        ),
    )
}

THREADS = Scenario(
    "provision-all-threads",
    ("provision", "--all"),
    _fleet,
    floor=3,
    settings={"write_concurrency": "3", "second_layer": "auto"},
    exact=False,
)
