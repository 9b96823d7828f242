"""Group C of the catalogue: is it the jail's root, and can only the operator say so."""

from __future__ import annotations

import os
import shutil

import pytest

from tests.kit.arena import SECRET, Arena, mounted
from vault_svc.adapters.delivery import ConfinedDelivery
from vault_svc.errors import ColibriError
from vault_svc.ports.delivery import JailRoot

pytestmark = pytest.mark.attack
PATH = ("home", "app", ".env")
BIND = 0x1000


def refused(delivery: ConfinedDelivery, arena: Arena, root: str, ino: int | None = None) -> str:
    """Return the one code every method refuses this root with; nothing may change."""
    jail, codes = JailRoot(root, ino), []
    calls = (
        lambda: delivery.prove_root(jail),
        lambda: delivery.inspect(jail, PATH, max_bytes=99),
        lambda: delivery.place(jail, PATH, SECRET, arena.owner),
        lambda: delivery.remove(jail, PATH),
    )
    for call in calls:
        with pytest.raises(ColibriError) as caught:
            call()
        codes.append(caught.value.code)
    assert len(set(codes)) == 1, codes
    return codes[0]


NOT_ALLOWED = {
    "outside": "{outside}/dir",
    "prefix-trick": "{base}-evil/t1/root",
    "dotdot": "{base}/t1/../../outside/dir",
    "dotdot-back": "{base}/../jails/t1/root",
    "dot": "{base}/./t1/root",
    "double-slash": "{base}//t1/root",
    "trailing-slash": "{base}/t1/root/",
    "base": "{base}",
    "base-slash": "{base}/",
    "slash": "/",
    "empty": "",
    "relative": "jails/t1/root",
    "nul": "{base}/t1\0/root",
}


@pytest.mark.parametrize("root", NOT_ALLOWED.values(), ids=NOT_ALLOWED.keys())
def test_c1_root_that_is_not_strictly_below_a_base_is_refused(arena, walk, root):
    evil = arena.top / "jails-evil/t1/root/home/app"
    evil.mkdir(parents=True)
    arena.arm()
    root = root.format(outside=arena.outside, base=arena.base)
    assert refused(arena.delivery(walk), arena, root) == "jail_root_not_allowed"
    assert list(evil.iterdir()) == []


@pytest.mark.parametrize("base", ["/", "relative", "{base}/../jails", "{base}/"])
def test_c1_base_that_is_not_canonical_or_is_everything_is_refused(arena, walk, base):
    arena.arm()
    bases = [base.format(base=arena.base)]
    delivery = ConfinedDelivery(bases, state_dir=str(arena.state), walk=walk)
    assert refused(delivery, arena, str(arena.root)) == "unsafe_base"


@pytest.mark.parametrize("root", ["{state}/store", "{state}", "{top}", "{state}/jails"])
def test_c1_root_that_is_in_or_around_colibris_state_is_refused(arena, walk, root):
    for name in ("store/home/app", "jails/t9/home/app"):
        (arena.state / name).mkdir(parents=True)
    arena.arm()
    above = str(arena.top.parent)
    delivery = ConfinedDelivery([above], state_dir=str(arena.state), walk=walk)
    root = root.format(state=arena.state, top=arena.top)
    assert refused(delivery, arena, root) == "jail_root_not_allowed"
    good = JailRoot(str(arena.state / "jails/t9"))
    assert delivery.prove_root(good) == (arena.state / "jails/t9").stat().st_ino


def test_c1_state_reached_by_another_name_is_still_the_state(arena, walk):
    (arena.state / "store").mkdir()
    (arena.top / "linked").symlink_to("state")
    arena.arm()
    other = str(arena.top / "linked")
    delivery = ConfinedDelivery([str(arena.top)], state_dir=other, walk=walk)
    assert refused(delivery, arena, str(arena.state / "store")) == "jail_root_not_allowed"
    assert refused(delivery, arena, str(arena.state)) == "jail_root_not_allowed"
    above = ConfinedDelivery([str(arena.top.parent)], state_dir=other, walk=walk)
    assert refused(above, arena, str(arena.top)) == "jail_root_not_allowed"


@pytest.mark.root
def test_c1_state_mounted_a_second_time_is_still_the_state(arena, walk):
    (arena.base / "t2").mkdir()
    with mounted("", str(arena.state), arena.base / "t2", flags=BIND):
        arena.arm()
        root = str(arena.base / "t2")
        assert refused(arena.delivery(walk), arena, root) == "jail_root_not_allowed"
        arena.check()
    arena.arm()


def test_c2_symlinked_root_is_refused_with_its_target(arena, walk):
    (arena.base / "t2").mkdir()
    (arena.base / "t2/root").symlink_to(arena.root)
    arena.arm()
    root = str(arena.base / "t2/root")
    assert refused(arena.delivery(walk), arena, root) == "jail_root_not_plain"
    with pytest.raises(ColibriError, match="t1/root"):
        arena.delivery(walk).prove_root(JailRoot(root))


@pytest.mark.parametrize("kind", ["file", "fifo"])
def test_c2_root_that_is_no_directory_is_refused(arena, walk, kind):
    strange = arena.base / "strange"
    arena.file(strange) if kind == "file" else os.mkfifo(strange)
    arena.arm()
    assert refused(arena.delivery(walk), arena, str(strange)) == "jail_root_not_plain"


@pytest.mark.parametrize("where", ["base", "between"])
def test_c2_symlinked_base_or_component_above_the_root_is_refused(arena, walk, where):
    (arena.top / "other").symlink_to("jails")
    (arena.base / "t2").symlink_to("t1")
    base, root = (
        (arena.top / "other", arena.top / "other/t1/root")
        if where == "base"
        else (arena.base, arena.base / "t2/root")
    )
    arena.arm()
    delivery = ConfinedDelivery([str(base)], state_dir=str(arena.state), walk=walk)
    assert refused(delivery, arena, str(root)) == "unsafe_base"


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775, 0o757, 0o2775])
@pytest.mark.parametrize("where", ["top", "base", "between"])
def test_c3_component_that_others_may_write_is_refused_sticky_or_not(arena, walk, mode, where):
    place = {"top": arena.top, "base": arena.base, "between": arena.root.parent}[where]
    arena.arm()
    place.chmod(mode)
    assert refused(arena.delivery(walk), arena, str(arena.root)) == "unsafe_base"
    place.chmod(0o755)
    assert arena.delivery(walk).prove_root(JailRoot(str(arena.root)))


@pytest.mark.root
@pytest.mark.parametrize("where", ["base", "between"])
def test_c3_component_of_another_user_is_refused(arena, walk, where):
    place = {"base": arena.base, "between": arena.root.parent}[where]
    os.chown(place, 1001, 1001)
    arena.arm()
    assert refused(arena.delivery(walk), arena, str(arena.root)) == "unsafe_base"


@pytest.mark.root
def test_c3_root_itself_may_belong_to_the_jails_own_root(arena, walk):
    os.chown(arena.root, 100000, 100000)
    arena.root.chmod(0o777)
    arena.arm("home/app/.env")
    arena.delivery(walk).place(JailRoot(str(arena.root)), PATH, SECRET, arena.owner)


def test_c4_root_that_is_not_the_registered_inode_is_refused(arena, walk):
    arena.arm()
    delivery = arena.delivery(walk)
    ino = delivery.prove_root(JailRoot(str(arena.root)))
    assert delivery.prove_root(JailRoot(str(arena.root), ino)) == ino
    assert refused(delivery, arena, str(arena.root), ino + 1) == "jail_root_mismatch"


def test_c4_root_made_anew_is_not_the_registered_one(arena, walk):
    arena.arm()
    delivery = arena.delivery(walk)
    ino = delivery.prove_root(JailRoot(str(arena.root)))
    arena.root.rename(arena.root.with_name("old"))
    shutil.copytree(arena.root.with_name("old"), arena.root)
    assert refused(delivery, arena, str(arena.root), ino) == "jail_root_mismatch"
    shutil.rmtree(arena.root)
    arena.root.with_name("old").rename(arena.root)
    arena.arm()


def test_c4_root_made_anew_is_refused_under_a_held_base_too(arena, walk):
    arena.arm()
    with arena.delivery(walk).holding() as delivery:
        ino = delivery.prove_root(JailRoot(str(arena.root)))
        assert delivery.prove_root(JailRoot(str(arena.root), ino)) == ino
        arena.root.rename(arena.root.with_name("old"))
        shutil.copytree(arena.root.with_name("old"), arena.root)
        assert refused(delivery, arena, str(arena.root), ino) == "jail_root_mismatch"
        shutil.rmtree(arena.root)
        arena.root.with_name("old").rename(arena.root)
    arena.arm()


def test_c6_base_replaced_while_it_is_held_is_tampered_not_delivered(arena, walk):
    """The held base's tree was moved away: what the jail's path shows got nothing."""
    arena.arm()
    aside = arena.base.with_name("aside")
    with arena.delivery(walk).holding() as delivery:
        arena.base.rename(aside)
        shutil.copytree(aside, arena.base)
        root = JailRoot(str(arena.root))
        delivery.place(root, PATH, SECRET, arena.owner)
        assert {p: e.code for p, e in delivery.astray([root]).items()} == {root.path: "tampered"}
    assert not (arena.root / "home/app/.env").exists()
    shutil.rmtree(arena.base)
    aside.rename(arena.base)
    arena.arm("home/app/.env")


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
@pytest.mark.parametrize("where", ["base", "between"])
def test_c3_held_base_is_still_asked_who_may_write_it(arena, walk, mode, where):
    place = {"base": arena.base, "between": arena.root.parent}[where]
    arena.arm()
    with arena.delivery(walk).holding() as delivery:
        place.chmod(mode)
        assert refused(delivery, arena, str(arena.root)) == "unsafe_base"
        place.chmod(0o755)


def test_c3_unsafe_base_is_not_held(arena, walk):
    arena.base.chmod(0o777)
    arena.arm()
    with arena.delivery(walk).holding() as delivery:
        assert refused(delivery, arena, str(arena.root)) == "unsafe_base"
    arena.base.chmod(0o755)


def test_c6_jail_that_is_gone_is_missing_and_nothing_is_created(arena, walk):
    arena.arm()
    delivery = arena.delivery(walk)
    gone = str(arena.base / "gone/root")
    assert refused(delivery, arena, gone) == "path_missing"
    assert not (arena.base / "gone").exists()


@pytest.mark.parametrize("when", ["stage", "publish_new"])
def test_c6_jail_destroyed_after_it_was_opened_is_refused(arena, walk, when, monkeypatch):
    from vault_svc.hazmat import confine_stage

    original, kept = getattr(confine_stage, when), arena.root.with_name("kept")
    shutil.copytree(arena.root, kept)

    def destroy(*args, **kwargs):
        shutil.rmtree(arena.root, ignore_errors=True)
        return original(*args, **kwargs)

    monkeypatch.setattr(confine_stage, when, destroy)
    jail = JailRoot(str(arena.root))
    with pytest.raises(ColibriError) as caught:
        arena.delivery(walk).place(jail, PATH, SECRET, arena.owner)
    assert caught.value.code in {"path_missing", "tampered"}
    assert not arena.root.exists()
    kept.rename(arena.root)
    arena.arm()


def test_c6_root_replaced_while_writing_is_tampered_not_delivered(arena, walk, monkeypatch):
    """The tree the descriptor holds was moved away: what the jail's path shows got nothing."""
    from vault_svc.hazmat import confine_stage

    original, moved = confine_stage.publish_new, arena.root.with_name("moved")

    def replace(*args):
        arena.root.rename(moved)
        shutil.copytree(moved, arena.root)
        return original(*args)

    monkeypatch.setattr(confine_stage, "publish_new", replace)
    with pytest.raises(ColibriError) as caught:
        arena.delivery(walk).place(JailRoot(str(arena.root)), PATH, SECRET, arena.owner)
    assert caught.value.code == "tampered"
    shutil.rmtree(arena.root)
    moved.rename(arena.root)
    arena.arm()


@pytest.mark.root
def test_c9_root_nested_in_another_jail_is_refused_where_the_outer_tenant_owns_it(arena, walk):
    """The registry refuses nested roots by name; the walk refuses them by owner and mode."""
    nested = arena.app / "inner"
    nested.mkdir()
    arena.arm()
    assert refused(arena.delivery(walk), arena, str(nested)) == "unsafe_base"


@pytest.mark.root
def test_c10_volume_shared_with_another_tenant_is_a_mount_and_refused(arena, walk):
    shared = arena.outside / "shared"
    shared.mkdir()
    (arena.root / "shared").mkdir()
    with mounted("", str(shared), arena.root / "shared", flags=BIND):
        arena.arm()
        jail = JailRoot(str(arena.root))
        with pytest.raises(ColibriError) as caught:
            arena.delivery(walk).place(jail, ("shared", ".env"), SECRET, arena.owner)
        assert caught.value.code == "crosses_mount"
        arena.check()
    arena.arm()
