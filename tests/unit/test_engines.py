"""Jail trees: bookkeeping, crashes, bases, and what each engine really does."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess

import pytest

from tests.kit.memory import TurnableClock
from vault_svc.adapters.jails.bubblewrap import BubblewrapEngine
from vault_svc.adapters.jails.directory import DirectoryEngine
from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError

ROOT = os.geteuid() == 0
OWNER = Owner(1000, 1000) if ROOT else Owner(os.geteuid(), os.getegid())


@pytest.fixture
def base(tmp_path):
    tmp_path.chmod(0o700)
    return tmp_path / "jails"


def code_of(call) -> str:
    with pytest.raises(ColibriError) as caught:
        call()
    return caught.value.code


def test_the_record_lies_beside_the_root_and_is_private(base):
    DirectoryEngine([str(base)], TurnableClock()).create("acme", OWNER)
    record = base / "acme" / "jail.json"
    assert json.loads(record.read_text()) == {
        "engine": "directory",
        "owner_uid": OWNER.uid,
        "owner_gid": OWNER.gid,
        "created_at": "2026-11-21T03:24:00.000Z",
    }
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert stat.S_IMODE((base / "acme").stat().st_mode) == 0o700
    assert sorted(os.listdir(base / "acme")) == ["jail.json", "root"]


@pytest.mark.parametrize("mask", [0o000, 0o077])
def test_modes_do_not_depend_on_the_umask(base, mask):
    old = os.umask(mask)
    try:
        DirectoryEngine([str(base)]).create("acme", OWNER)
    finally:
        os.umask(old)
    root = base / "acme" / "root"
    modes = {name: stat.S_IMODE((root / name).stat().st_mode) for name in (".", "home/app", "tmp")}
    assert modes == {".": 0o755, "home/app": 0o700, "tmp": 0o1777}


@pytest.mark.root
def test_the_directory_tree_is_the_owners_and_bubblewraps_mount_points_are_ours(base):
    for engine, roots in ((DirectoryEngine, 1000), (BubblewrapEngine, 0)):
        name = engine.name
        root = engine([str(base)]).create(name, OWNER).root
        owners = {part: os.stat(f"{root}/{part}").st_uid for part in (".", "etc", "home", "var")}
        assert owners == {".": roots, "etc": roots, "home": 1000, "var": 1000}
        assert os.stat(f"{root}/home/app").st_uid == 1000


def test_an_ordinary_user_makes_jails_for_itself_only(base, monkeypatch):
    engine = DirectoryEngine([str(base)])
    monkeypatch.setattr(os, "geteuid", lambda: 4242)
    monkeypatch.setattr(os, "getegid", lambda: 4242)
    for owner in (Owner(4243, 4242), Owner(4242, 4243), Owner(0, 0)):
        assert code_of(lambda owner=owner: engine.create("acme", owner)) == "owner_unmapped"
    assert not base.exists()


def test_a_name_is_taken_in_every_base_and_by_every_engine(tmp_path):
    tmp_path.chmod(0o700)
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    DirectoryEngine([old]).create("acme", OWNER)
    both = [new, old]
    assert code_of(lambda: DirectoryEngine(both).create("acme", OWNER)) == "jail_taken"
    assert code_of(lambda: BubblewrapEngine(both).create("acme", OWNER)) == "jail_taken"
    assert DirectoryEngine(both).root_of("acme") == f"{old}/acme/root"
    assert DirectoryEngine(both).create("beta", OWNER).root == f"{new}/beta/root"
    assert [info.name for info in DirectoryEngine(both).list()] == ["acme", "beta"]


def test_what_a_crash_left_aside_is_swept_and_never_listed(base):
    engine = DirectoryEngine([str(base)])
    engine.create("acme", OWNER)
    shutil.copytree(base / "acme", base / ".new-beta-0011")
    assert [info.name for info in engine.list()] == ["acme"]
    engine.create("beta", OWNER)
    assert sorted(os.listdir(base)) == ["acme", "beta"]


def test_an_empty_directory_a_crash_left_is_taken_over(base):
    engine = DirectoryEngine([str(base)])
    engine.create("acme", OWNER)
    (base / "beta").mkdir(mode=0o700)
    assert code_of(lambda: engine.root_of("beta")) == "jail_not_found"
    assert engine.create("beta", OWNER).root == f"{base}/beta/root"


def test_what_somebody_else_keeps_in_the_base_is_left_alone(base):
    engine = DirectoryEngine([str(base)])
    engine.create("acme", OWNER)
    (base / "theirs").mkdir()
    (base / "theirs" / "data").write_text("kept")
    (base / "a-file").write_text("kept")
    (base / "a-link").symlink_to("acme")
    assert [info.name for info in engine.list()] == ["acme"]
    for name in ("theirs", "a-file", "a-link"):
        assert code_of(lambda name=name: engine.destroy(name)) == "jail_not_found"
        assert code_of(lambda name=name: engine.create(name, OWNER)) == "jail_taken"
    assert (base / "theirs" / "data").read_text() == "kept"
    assert sorted(os.listdir(base)) == ["a-file", "a-link", "acme", "theirs"]


@pytest.mark.parametrize("point", ["half the tree gone", "no root", "no record"])
def test_a_destruction_that_crashed_can_be_finished(base, point):
    engine = DirectoryEngine([str(base)])
    engine.create("acme", OWNER)
    if point == "half the tree gone":
        shutil.rmtree(base / "acme" / "root" / "home")
    if point != "half the tree gone":
        shutil.rmtree(base / "acme" / "root")
    if point == "no record":
        (base / "acme" / "jail.json").unlink()
        engine.create("acme", OWNER)
    engine.destroy("acme")
    assert os.listdir(base) == []


def test_a_jail_whose_root_is_a_link_is_not_entered(base, tmp_path):
    engine = DirectoryEngine([str(base)])
    engine.create("acme", OWNER)
    shutil.rmtree(base / "acme" / "root")
    (tmp_path / "outside").mkdir()
    (base / "acme" / "root").symlink_to(tmp_path / "outside")
    assert code_of(lambda: engine.root_of("acme")) == "jail_root_not_plain"
    assert code_of(lambda: engine.run("acme", ["/bin/true"], OWNER)) == "jail_root_not_plain"
    assert code_of(lambda: engine.destroy("acme")) == "tampered"
    assert (tmp_path / "outside").is_dir()


@pytest.mark.parametrize("record", ["", "{}", "[]", '{"engine": "directory"}', "x" * 5000])
def test_a_record_that_cannot_be_read_is_told_and_its_name_stays_taken(base, record):
    engine = DirectoryEngine([str(base)])
    engine.create("acme", OWNER)
    (base / "acme" / "jail.json").write_text(record)
    assert code_of(engine.list) == "tampered"
    assert code_of(lambda: engine.destroy("acme")) == "tampered"
    assert code_of(lambda: engine.create("acme", OWNER)) == "tampered"
    assert (base / "acme" / "root" / "home").is_dir()


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_base_others_can_write_is_refused(base, mode):
    engine = DirectoryEngine([str(base)])
    engine.create("acme", OWNER)
    base.chmod(mode)
    for call in (
        engine.list,
        lambda: engine.create("beta", OWNER),
        lambda: engine.root_of("acme"),
        lambda: engine.destroy("acme"),
    ):
        assert code_of(call) == "unsafe_base"


def test_a_base_behind_a_symlink_is_refused(base, tmp_path):
    DirectoryEngine([str(base)]).create("acme", OWNER)
    (tmp_path / "way").symlink_to(base)
    assert code_of(DirectoryEngine([str(tmp_path / "way")]).list) == "unsafe_base"


def test_a_base_whose_parent_is_missing_is_told(base):
    engine = DirectoryEngine([f"{base}/no/no"])
    assert engine.list() == []
    assert code_of(lambda: engine.root_of("acme")) == "jail_not_found"
    assert code_of(lambda: engine.create("acme", OWNER)) == "path_missing"


def test_two_creators_of_one_name_make_one_jail(base):
    made = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            status = 9
            try:
                DirectoryEngine([str(base)]).create("acme", OWNER)
                status = 0
            except ColibriError as error:
                status = 1 if error.code == "jail_taken" else 9
            finally:
                os._exit(status)
        made.append(pid)
    ends = sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in made)
    assert ends == [0, 1]
    assert os.listdir(base) == ["acme"]


@pytest.mark.root
@pytest.mark.parametrize("engine", [DirectoryEngine, BubblewrapEngine])
@pytest.mark.parametrize("owner", [Owner(0, 0), Owner(0, 1000), Owner(1000, 0)])
def test_nothing_is_run_as_root(base, engine, owner):
    made = engine([str(base)])
    made.create("acme", OWNER)
    assert code_of(lambda: made.run("acme", ["/usr/bin/id"], owner)) == "owner_unmapped"


def test_bubblewrap_without_its_program_says_so(base, tmp_path):
    engine = BubblewrapEngine([str(base)], programs=str(tmp_path))
    assert engine.unavailable() == "bwrap is not installed"
    engine.create("acme", OWNER)
    assert code_of(lambda: engine.run("acme", ["/bin/true"], OWNER)) == "helper_missing"


def test_bubblewraps_trial_is_run_once_and_its_reason_kept(base, tmp_path):
    """A bwrap that fails as on a host that forbids namespaces."""
    programs = tmp_path / "bin"
    programs.mkdir()
    fake = programs / "bwrap"
    said = "bwrap: No permissions to create new namespace"
    fake.write_text(f"#!/bin/sh\necho x >> {tmp_path}/runs\necho '{said}' >&2\nexit 1\n")
    fake.chmod(0o755)
    (programs / "setpriv").symlink_to("/bin/true")
    engine = BubblewrapEngine([str(base)], programs=str(programs))
    for _ in range(3):
        assert engine.unavailable() == f"a trial run failed: {said}"
    assert (tmp_path / "runs").read_text() == "x\n"


@pytest.fixture
def wrapped(base):
    engine = BubblewrapEngine([str(base)])
    why = engine.unavailable()
    if why:
        pytest.skip(f"bubblewrap: {why}")
    engine.create("acme", OWNER)
    return engine


def inside(engine, script: str) -> str:
    ran = engine.run("acme", ["/bin/sh", "-c", script], OWNER)
    assert ran.status == 0, ran
    return ran.stdout.decode()


def test_bubblewrap_keeps_no_capability_and_no_way_to_new_ones(wrapped):
    words = inside(wrapped, "grep -E '^(Cap|NoNewPrivs|Uid|Groups)' /proc/self/status").split("\n")
    found = {line.partition(":")[0]: line.partition(":")[2].split() for line in words if line}
    zero = ["0" * 16]
    assert {found[kind][0] for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb", "CapBnd")} == set(
        zero
    )
    assert found["NoNewPrivs"] == ["1"]
    assert found["Uid"] == [str(OWNER.uid)] * 4
    if ROOT:
        assert found["Groups"] == [str(OWNER.gid)] or found["Groups"] == []


@pytest.mark.parametrize("kind", ["ipc", "pid", "net", "uts", "mnt", "user"])
def test_bubblewrap_has_namespaces_of_its_own(wrapped, kind):
    theirs = inside(wrapped, f"readlink /proc/self/ns/{kind}").strip()
    ours = os.readlink(f"/proc/self/ns/{kind}")
    # As root there is no user namespace (decision 9).
    assert (theirs == ours) is (kind == "user" and ROOT)


def test_bubblewraps_tenant_cannot_change_what_is_mounted_on(wrapped):
    refusals = inside(
        wrapped,
        "for t in 'mv /home /h' 'mkdir /x' 'rm -r /usr' 'ln -s / /etc/x' 'touch /etc/ld.so.preload'"
        " 'rmdir /proc' 'touch /usr/x' 'chmod 777 /'; do $t 2>/dev/null && echo \"$t\"; done; :",
    )
    assert refusals == ""
    assert "x" in inside(wrapped, "cd /home/app && touch x && ls")


def test_bubblewrap_sees_no_host_process_file_or_address(wrapped, tmp_path):
    (tmp_path / "secret").write_text("canary")
    (tmp_path / "secret").chmod(0o644)
    assert int(inside(wrapped, "ls -d /proc/[0-9]* | wc -l")) < 10
    assert inside(wrapped, f"cat {tmp_path}/secret 2>/dev/null || echo no") == "no\n"
    assert inside(wrapped, "cat /etc/shadow /etc/passwd 2>/dev/null || echo no") == "no\n"
    assert inside(wrapped, "cut -d: -f1 /proc/net/dev | tail -n +3").split() == ["lo"]
    assert inside(wrapped, "cat /proc/sys/kernel/hostname") == "acme\n"


def test_bubblewraps_tmp_is_its_own_and_bounded(wrapped, base):
    assert inside(wrapped, "echo x > /tmp/f && cat /tmp/f") == "x\n"
    assert os.listdir(base / "acme" / "root" / "tmp") == []
    script = "head -c 80000000 /dev/zero > /tmp/big 2>/dev/null; stat -c %s /tmp/big"
    assert int(inside(wrapped, script)) <= 64 << 20


@pytest.mark.root
def test_a_tenants_preload_is_not_loaded_on_the_way_to_its_owner(wrapped, base):
    """A planted /etc is impossible from inside; even its home cannot reach the drop."""
    home = base / "acme" / "root" / "home"
    planted = home / "app" / "lib.so"
    planted.write_bytes(b"not a library")
    assert os.stat(base / "acme" / "root" / "etc").st_uid == 0
    ran = wrapped.run("acme", ["/usr/bin/id", "-u"], OWNER)
    assert (ran.stdout, ran.stderr) == (b"1000\n", b"")


@pytest.mark.root
def test_a_replaced_home_is_not_bound_from_elsewhere(wrapped, base, tmp_path):
    """If a host's hand put a link there, it is left out rather than followed."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "canary").touch()
    shutil.rmtree(base / "acme" / "root" / "home")
    (base / "acme" / "root" / "home").symlink_to(tmp_path / "outside")
    assert "canary" not in inside(wrapped, "ls -a / /home/ 2>/dev/null; :")


def test_no_process_of_a_jail_outlives_its_run(wrapped, base):
    mark = "sleep 4" + str(os.getpid())
    ran = wrapped.run("acme", ["/bin/sh", "-c", f"setsid -f {mark}; {mark} & exit 0"], OWNER)
    assert ran.status == 0
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert mark not in listing.stdout


@pytest.mark.parametrize("kind", [DirectoryEngine, BubblewrapEngine])
def test_what_a_killed_destroy_left_of_a_jail_is_stopped_and_destroyed(base, kind):
    """Its root is gone, its record still there: the next destroy finishes, an agent's too."""
    engine = kind([str(base)])
    engine.create("acme", OWNER)
    shutil.rmtree(base / "acme/root")
    assert code_of(lambda: engine.root_of("acme")) == "jail_root_not_plain"
    engine.stop("acme")
    engine.destroy("acme")
    assert engine.list() == []
    assert code_of(lambda: engine.stop("acme")) == "jail_not_found"
