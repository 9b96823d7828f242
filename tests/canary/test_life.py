"""Nothing of a secret anywhere but in the delivered file, through a tenant's whole life."""

from __future__ import annotations

import pytest

from cli.app import app
from tests.canary import life

pytestmark = pytest.mark.canary
NOT_LIVED = {"first-proof"}  # drives colibri itself, and prints only counts; see its own tests


def every_command() -> set[str]:
    """Return all commands, so that a new one has to join the hunted life."""

    def below(typer_app, prefix: str) -> set[str]:
        names = {
            prefix + (c.name or c.callback.__name__.replace("_", "-"))
            for c in typer_app.registered_commands
        }
        for group in typer_app.registered_groups:
            name = group.name or group.typer_instance.info.name
            names |= below(group.typer_instance, f"{prefix}{name} ")
        return names

    return below(app, "")


def test_a_whole_life_leaves_no_secret_anywhere_else(host):
    chapters = []
    host.marks.add("nobody's", "a-mark-that-nothing-holds")
    with life.hunted(host) as hunt:
        for chapter in life.live(host):
            chapters.append(chapter)
            life.tell(hunt["process"], host.marks)
            if chapter in {"delivered", "rotated"}:
                _eyes_see_the_delivered_file(host)
    assert chapters[-1] == "gone"
    assert host.found == set()
    assert hunt["found"] == []
    assert hunt["sweeps"] > len(chapters)
    pids = set(hunt["seen"])
    lived = {said.pid for said in host.said[1:]}
    print(f"{hunt['sweeps']} sweeps saw {len(pids & lived)} of {len(lived)} commands")
    assert pids & lived
    assert life.commands_lived(host) | NOT_LIVED >= every_command() - {"jail create"}
    if life.root():
        assert not host.hidden, "root sees everything there is"
    assert not host.env_file("acme").exists()


def _eyes_see_the_delivered_file(host) -> None:
    """The positive control: the very same hunt finds every value where it was delivered."""
    there = host.marks.find(host.env_file("acme").read_bytes())
    assert any(name.startswith("value file") for name in there)
    assert any(name.startswith("value import") for name in there)
    credentials = host.state / "credentials"
    assert host.marks.find((credentials / "host.key").read_bytes())
    assert host.marks.find((credentials / "embedded.age").read_bytes())


def test_an_old_identity_is_gone_for_good_after_its_rotation(host):
    home = host.state / "credentials"
    host.colibri("secret", "set", "acme", "A_KEY", stdin=host.value("kept"))
    host.mark_credentials()
    old = {name for name in host.marks.pieces if name.startswith("identity")}
    assert host.marks.find((home / "embedded.age").read_bytes()) == old
    host.colibri("key", "rotate", "identity")
    everything = b"".join(path.read_bytes() for path in home.iterdir())
    assert not host.marks.find(everything) & old
