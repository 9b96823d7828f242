"""What every jail engine promises: one suite against each that this host can run."""

from __future__ import annotations

import contextlib
import os
import stat
import time

import pytest

from tests.kit import engines
from tests.kit.engines import OWNER, ROOT, Place
from tests.kit.places import private_directory
from vault_svc.adapters.jails.bubblewrap import BubblewrapEngine
from vault_svc.adapters.jails.directory import DirectoryEngine
from vault_svc.errors import ColibriError
from vault_svc.ports.jail_engine import JailEngine

TREES = {"directory": DirectoryEngine, "bubblewrap": BubblewrapEngine}


@pytest.fixture(scope="module", params=sorted(engines.ENGINES))
def place(request) -> Place:
    with private_directory() as top, engines.place(request.param, top) as made:
        yield made


@pytest.fixture
def engine(place) -> JailEngine:
    yield place.engine
    for info in place.engine.list():
        place.engine.destroy(info.name)


@pytest.fixture
def jail(engine) -> JailEngine:
    """The engine with one jail, `acme`, that runs."""
    engine.create("acme", OWNER)
    engine.start("acme")
    return engine


def sh(engine, script: str, **options):
    return engine.run("acme", ["/bin/sh", "-c", script], OWNER, **options)


def code_of(call) -> str:
    with pytest.raises(ColibriError) as caught:
        call()
    return caught.value.code


def test_its_name_is_the_rows(engine, request):
    assert request.node.callspec.params["place"].startswith(engine.name)


def test_a_new_jail_is_listed_with_a_plain_root(engine):
    made = engine.create("acme", OWNER)
    assert (made.name, made.engine) == ("acme", engine.name)
    assert engine.list() == [made]
    engine.start("acme")
    root = engine.root_of("acme")
    assert root == made.root or not engine.capabilities.stable_roots
    assert stat.S_ISDIR(os.lstat(root).st_mode)
    assert os.path.isabs(root)


def test_roots_lie_below_the_engines_base(jail, place):
    assert jail.root_of("acme").startswith(f"{place.base}/")


def test_a_running_jails_first_process_has_the_jails_root(jail):
    pid = jail.pid_of("acme")
    if not (jail.capabilities.starts and jail.capabilities.pids):
        assert pid is None
        return
    root, seen = os.stat(jail.root_of("acme")), os.stat(f"/proc/{pid}/root/")
    assert (root.st_dev, root.st_ino) == (seen.st_dev, seen.st_ino)


def test_starting_and_stopping_twice_is_fine(jail):
    pid = jail.pid_of("acme")
    jail.start("acme")
    assert jail.pid_of("acme") == pid
    jail.stop("acme")
    jail.stop("acme")
    assert jail.pid_of("acme") is None
    (info,) = jail.list()
    assert info.running is (False if jail.capabilities.starts else None)


def test_a_stopped_jail_cannot_be_entered_and_says_so(jail):
    jail.stop("acme")
    if not jail.capabilities.starts:
        assert jail.run("acme", ["/bin/true"], OWNER).status == 0
        return
    assert code_of(lambda: jail.run("acme", ["/bin/true"], OWNER)) == "jail_not_running"
    if jail.capabilities.stable_roots:
        assert os.path.isdir(jail.root_of("acme"))
    else:
        assert code_of(lambda: jail.root_of("acme")) == "jail_not_running"


def test_a_stopped_jail_keeps_what_was_written_in_it(jail):
    sh(jail, "echo kept > home/app/note")
    jail.stop("acme")
    jail.start("acme")
    assert sh(jail, "cat home/app/note").stdout == b"kept\n"


def test_the_root_keeps_its_inode_and_through_a_stop_where_roots_are_stable(jail):
    before = os.stat(jail.root_of("acme"))
    sh(jail, ":")
    if jail.capabilities.stable_roots:
        jail.stop("acme")
    after = os.stat(jail.root_of("acme"))
    assert (before.st_dev, before.st_ino) == (after.st_dev, after.st_ino)


def test_jails_are_sorted_by_name(engine):
    for name in ("zoo", "acme", "beta1"):
        engine.create(name, OWNER)
    assert [info.name for info in engine.list()] == ["acme", "beta1", "zoo"]


def test_a_name_is_taken_once(jail):
    assert code_of(lambda: jail.create("acme", OWNER)) == "jail_taken"


def test_a_name_is_taken_for_the_other_tree_engines_too(jail, place):
    if jail.name not in TREES:  # it shares no directory with another engine
        return
    for other in TREES.values():
        made = other([str(place.base)])
        assert code_of(lambda made=made: made.create("acme", OWNER)) == "jail_taken"
        if made.name != jail.name:
            assert made.list() == []
            assert code_of(lambda made=made: made.root_of("acme")) == "jail_not_found"
            assert code_of(lambda made=made: made.destroy("acme")) == "jail_not_found"
            assert code_of(lambda made=made: made.run("acme", ["x"], OWNER)) == "jail_not_found"
    assert [info.name for info in jail.list()] == ["acme"]


BAD = ["", ".", "..", "../x", "a/b", "-x", "A", "a_b", "a.b", "ALL", "all", "1", "a\n", "a" * 33]


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_name_is_refused_everywhere(engine, name):
    for call in (
        lambda: engine.create(name, OWNER),
        lambda: engine.destroy(name),
        lambda: engine.start(name),
        lambda: engine.stop(name),
        lambda: engine.root_of(name),
        lambda: engine.pid_of(name),
        lambda: engine.run(name, ["/bin/true"], OWNER),
    ):
        assert code_of(call) == "jail_name_refused"


@pytest.mark.parametrize("name", ["acm", "acme1", "acme-1", "x"])
def test_names_are_exact_never_prefixes(jail, name):
    for call in (jail.start, jail.stop, jail.root_of, jail.pid_of, jail.destroy):
        assert code_of(lambda call=call: call(name)) == "jail_not_found"
    assert code_of(lambda: jail.run(name, ["/bin/true"], OWNER)) == "jail_not_found"
    assert [info.name for info in jail.list()] == ["acme"]


ENV = ("home", "app", ".env")


def test_the_owner_may_use_its_home_and_the_host_sees_it(jail, place):
    ran = sh(jail, "umask 077; echo mine > home/app/note; cat home/app/note")
    assert (ran.status, ran.stdout) == (0, b"mine\n")
    found = place.delivery().inspect(place.root("acme"), (*ENV[:2], "note"), max_bytes=99)
    assert (found.content, found.uid, found.gid) == (b"mine\n", OWNER.uid, OWNER.gid)


def test_what_is_delivered_is_the_owners_alone_inside_and_is_taken_out_again(jail, place):
    delivery, root = place.delivery(), place.root("acme")
    delivery.place(root, ENV, b"A=1\n", OWNER)
    seen = sh(jail, "stat -c '%u:%g %a' home/app/.env; cat home/app/.env").stdout.split(b"\n")
    assert seen == [b"%d:%d 600" % (OWNER.uid, OWNER.gid), b"A=1", b""]
    found = delivery.inspect(root, ENV, max_bytes=99)
    assert (found.content, found.mode, found.uid) == (b"A=1\n", 0o600, OWNER.uid)
    assert delivery.remove(root, ENV) == "file"
    assert sh(jail, "ls -A home/app").stdout == b""


def test_a_set_of_files_is_the_owners_alone_inside_and_is_taken_out_again(jail, place):
    delivery, root, where = place.delivery(), place.root("acme"), (*ENV[:2], "secrets")
    delivery.place_files(root, where, {"A": b"1", "B": b"2"}, OWNER)
    at = "home/app/secrets"
    seen = sh(jail, f"stat -c '%u:%g %a' {at} {at}/A; cat {at}/A {at}/B")
    own = b"%d:%d" % (OWNER.uid, OWNER.gid)
    assert seen.stdout.split(b"\n") == [own + b" 700", own + b" 400", b"12"]
    found = delivery.inspect_files(root, where, "AB", max_bytes=99)
    assert (found.uid, found.files["B"].content, found.files["B"].uid) == (
        OWNER.uid,
        b"2",
        OWNER.uid,
    )
    assert delivery.remove_files(root, where, "AB") == "files"
    assert sh(jail, "ls -A home/app").stdout == b""


def test_what_is_delivered_to_a_stopped_jail_is_there_when_it_starts(jail, place):
    jail.stop("acme")
    if not jail.capabilities.stable_roots:
        assert code_of(lambda: place.root("acme")) == "jail_not_running"
        return
    place.delivery().place(place.root("acme"), ENV, b"A=1\n", OWNER)
    jail.start("acme")
    seen = sh(jail, "stat -c '%u:%g %a' home/app/.env; cat home/app/.env").stdout.split(b"\n")
    assert seen == [b"%d:%d 600" % (OWNER.uid, OWNER.gid), b"A=1", b""]


def test_a_command_runs_as_the_owner_with_its_status_and_outputs(jail):
    ran = sh(jail, "id -u; id -g; echo err >&2; exit 5")
    assert (ran.status, ran.stderr) == (5, b"err\n")
    assert ran.stdout.split() == [str(OWNER.uid).encode(), str(OWNER.gid).encode()]


def test_nothing_of_our_environment_gets_in(jail, monkeypatch):
    monkeypatch.setenv("PLANTED", "canary")
    lines = jail.run("acme", ["/usr/bin/env"], OWNER).stdout.splitlines()
    assert not any(b"canary" in line for line in lines)
    # What bwrap and container engines set themselves, and our mark to find what is left running.
    allowed = {b"PWD", b"PATH", b"TERM", b"HOME", b"HOSTNAME", b"container", b"COLIBRI_RUN"}
    allowed |= {b"SHELL", b"USER", b"SHLVL"}  # jexec -l, and the shell that stands in
    assert {line.partition(b"=")[0] for line in lines} <= allowed


def test_no_descriptor_of_the_host_gets_in(jail, tmp_path):
    held = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(held, True)
    try:
        listed = sh(jail, "ls -l /proc/self/fd").stdout
    finally:
        os.close(held)
    assert os.fsencode(tmp_path) + b"\n" not in listed


def test_output_is_bounded(jail):
    ran = sh(jail, "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done")
    assert ran.status != 0
    assert len(ran.stdout) <= 1 << 20


def test_a_command_over_its_time_is_killed(jail):
    script = "echo $$ > home/app/pid; exec sleep 4321"
    assert code_of(lambda: sh(jail, script, timeout_seconds=2)) == "helper_timeout"
    for _ in range(50):
        if not any(b"4321" in line.split(b"\0") for line in command_lines()):
            return
        time.sleep(0.1)
    pytest.fail("it still runs")


def command_lines():
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/cmdline", "rb") as line:
            yield line.read()


def test_isolation_is_what_the_engine_says_it_is(jail, tmp_path):
    """The host's file of the same uid: a plain tree shows it, an isolating engine does not."""
    where = tmp_path if not ROOT else _open_place(tmp_path)
    secret = where / "same-uid"
    secret.write_text("canary")
    if ROOT:
        os.chown(secret, OWNER.uid, OWNER.gid)
    secret.chmod(0o600)
    seen = sh(jail, f"cat '{secret}' 2>/dev/null; :").stdout
    if jail.capabilities.isolates:
        assert seen == b""
    elif _reachable(secret):
        assert seen == b"canary"


def _open_place(tmp_path):
    (tmp_path / "open").mkdir(mode=0o755)
    return tmp_path / "open"


def _reachable(path) -> bool:
    """Whether the owner could walk there: a test directory above may be closed to others."""
    return not ROOT or all(os.stat(above).st_mode & 0o001 for above in path.parents)


def test_a_destroyed_jail_is_gone_and_its_name_free(jail, place):
    sh(
        jail,
        "mkdir -p home/app/a/b; touch home/app/a/b/c; ln -s /etc home/app/out; mkfifo home/app/f",
    )
    jail.destroy("acme")
    assert jail.list() == []
    if jail.name in TREES:
        assert os.listdir(place.base) == []
    assert code_of(lambda: jail.destroy("acme")) == "jail_not_found"
    assert code_of(lambda: jail.root_of("acme")) == "jail_not_found"
    jail.create("acme", OWNER)


def test_destruction_leaves_the_neighbours(jail):
    other = jail.create("other", OWNER)
    jail.destroy("acme")
    assert jail.list() == [other]
    jail.start("other")
    assert os.path.isdir(os.path.join(jail.root_of("other"), "home/app"))


def test_destruction_follows_no_link_out(jail, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_text("decoy")
    home = os.path.join(jail.root_of("acme"), "home/app")
    os.symlink(tmp_path / "outside", os.path.join(home, "dir"))
    os.symlink(tmp_path / "outside" / "kept", os.path.join(home, "file"))
    jail.destroy("acme")
    assert (tmp_path / "outside" / "kept").read_text() == "decoy"
