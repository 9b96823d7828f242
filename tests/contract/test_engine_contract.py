"""What every jail engine promises: one suite against each that this host can run."""

from __future__ import annotations

import os
import stat

import pytest

from vault_svc.adapters.jails.bubblewrap import BubblewrapEngine
from vault_svc.adapters.jails.directory import DirectoryEngine
from vault_svc.domain.receipt import Owner
from vault_svc.errors import ColibriError
from vault_svc.ports.jail_engine import JailEngine

ROOT = os.geteuid() == 0
OWNER = Owner(1000, 1000) if ROOT else Owner(os.geteuid(), os.getegid())
ENGINES = {"directory": DirectoryEngine, "bubblewrap": BubblewrapEngine}


@pytest.fixture(params=sorted(ENGINES))
def engine(request, tmp_path) -> JailEngine:
    tmp_path.chmod(0o700)
    made = ENGINES[request.param]([str(tmp_path / "jails")])
    why = made.unavailable()
    if why:
        pytest.skip(f"{request.param}: {why}")
    return made


@pytest.fixture
def jail(engine) -> JailEngine:
    engine.create("acme", OWNER)
    return engine


def sh(engine, script: str, **options):
    return engine.run("acme", ["/bin/sh", "-c", script], OWNER, **options)


def code_of(call) -> str:
    with pytest.raises(ColibriError) as caught:
        call()
    return caught.value.code


def test_its_name_is_the_rows(engine, request):
    assert engine.name == request.node.callspec.params["engine"]


def test_a_new_jail_is_listed_with_a_plain_root(engine):
    made = engine.create("acme", OWNER)
    assert (made.name, made.engine) == ("acme", engine.name)
    assert engine.list() == [made]
    assert engine.root_of("acme") == made.root
    assert stat.S_ISDIR(os.lstat(made.root).st_mode)
    assert os.path.isabs(made.root)


def test_the_root_keeps_its_inode_where_roots_are_stable(jail):
    if not jail.capabilities.stable_roots:
        pytest.skip("its roots change by design")
    before = os.stat(jail.root_of("acme"))
    sh(jail, ":")
    after = os.stat(jail.root_of("acme"))
    assert (before.st_dev, before.st_ino) == (after.st_dev, after.st_ino)


def test_jails_are_sorted_by_name(engine):
    for name in ("zoo", "acme", "beta-1"):
        engine.create(name, OWNER)
    assert [info.name for info in engine.list()] == ["acme", "beta-1", "zoo"]


def test_a_name_is_taken_once(jail):
    assert code_of(lambda: jail.create("acme", OWNER)) == "jail_taken"


def test_a_name_is_taken_for_the_other_engines_too(jail, tmp_path):
    for other in ENGINES.values():
        made = other([str(tmp_path / "jails")])
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
        lambda: engine.root_of(name),
        lambda: engine.run(name, ["/bin/true"], OWNER),
    ):
        assert code_of(call) == "jail_name_refused"


@pytest.mark.parametrize("name", ["acm", "acme1", "acme-1", "x"])
def test_names_are_exact_never_prefixes(jail, name):
    assert code_of(lambda: jail.root_of(name)) == "jail_not_found"
    assert code_of(lambda: jail.destroy(name)) == "jail_not_found"
    assert code_of(lambda: jail.run(name, ["/bin/true"], OWNER)) == "jail_not_found"
    assert [info.name for info in jail.list()] == ["acme"]


def test_the_owner_may_use_its_home_and_the_host_sees_it(jail):
    ran = sh(jail, "umask 077; echo mine > home/app/note; cat home/app/note")
    assert (ran.status, ran.stdout) == (0, b"mine\n")
    note = os.path.join(jail.root_of("acme"), "home/app/note")
    assert (os.stat(note).st_uid, os.stat(note).st_gid) == (OWNER.uid, OWNER.gid)


def test_what_the_host_delivers_is_read_inside(jail):
    path = os.path.join(jail.root_of("acme"), "home/app/.env")
    with open(path, "w") as file:
        file.write("A=1\n")
    if ROOT:
        os.chown(path, OWNER.uid, OWNER.gid)
    os.chmod(path, 0o600)
    assert sh(jail, "cat home/app/.env").stdout == b"A=1\n"


def test_a_command_runs_as_the_owner_with_its_status_and_outputs(jail):
    ran = sh(jail, "id -u; id -g; echo err >&2; exit 5")
    assert (ran.status, ran.stderr) == (5, b"err\n")
    assert ran.stdout.split() == [str(OWNER.uid).encode(), str(OWNER.gid).encode()]


def test_the_environment_is_empty(jail, monkeypatch):
    monkeypatch.setenv("PLANTED", "canary")
    assert b"canary" not in jail.run("acme", ["/usr/bin/env"], OWNER).stdout
    allowed = {b"PWD=/"}  # bwrap sets it
    assert set(jail.run("acme", ["/usr/bin/env"], OWNER).stdout.splitlines()) <= allowed


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
    assert code_of(lambda: sh(jail, "sleep 60", timeout_seconds=0.5)) == "helper_timeout"


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


def test_a_destroyed_jail_is_gone_and_its_name_free(jail, tmp_path):
    sh(
        jail,
        "mkdir -p home/app/a/b; touch home/app/a/b/c; ln -s /etc home/app/out; mkfifo home/app/f",
    )
    jail.destroy("acme")
    assert jail.list() == []
    assert os.listdir(tmp_path / "jails") == []
    assert code_of(lambda: jail.destroy("acme")) == "jail_not_found"
    assert code_of(lambda: jail.root_of("acme")) == "jail_not_found"
    jail.create("acme", OWNER)


def test_destruction_leaves_the_neighbours(jail):
    other = jail.create("other", OWNER)
    jail.destroy("acme")
    assert jail.list() == [other]
    assert os.path.isdir(os.path.join(other.root, "home/app"))


def test_destruction_follows_no_link_out(jail, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_text("decoy")
    home = os.path.join(jail.root_of("acme"), "home/app")
    os.symlink(tmp_path / "outside", os.path.join(home, "dir"))
    os.symlink(tmp_path / "outside" / "kept", os.path.join(home, "file"))
    jail.destroy("acme")
    assert (tmp_path / "outside" / "kept").read_text() == "decoy"
