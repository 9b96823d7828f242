"""The hook in real containers: the OCI runtime itself calls it, nobody else delivers."""

from __future__ import annotations

import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.hook import containers
from tests.hook.containers import Runtime
from tests.kit.cli import Cli

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("runtime")]

VALUE = "sk-live-0123456789"


@pytest.fixture(scope="module")
def why_not(tmp_path_factory) -> str | None:
    if os.geteuid() != 0:
        return "needs root"
    return containers.unavailable(tmp_path_factory.mktemp("trial"))


@pytest.fixture
def acme(cli, state_dir, why_not):
    """A registered tenant, and a runtime whose bundle has its jail's root."""
    if why_not:
        pytest.skip(why_not)
    cli.tenant("acme", API_KEY=VALUE)
    containers.furnish(cli.state / "jails/acme/root")
    return Runtime(state_dir, cli)


def root(acme: Runtime):
    return acme.cli.state / "jails/acme/root"


def env_file(acme: Runtime):
    return root(acme) / "home/app/.env"


def test_the_first_instruction_of_the_agent_finds_its_secrets(acme):
    ran = acme.run(acme.bundle(root(acme), "/bin/cat", "/home/app/.env")).must()
    assert f"API_KEY={VALUE}" in ran.text.replace("'", "").replace('"', "")


def test_without_the_hook_the_same_bundle_finds_none(acme):
    """The control: what the container saw came by the hook, and by nothing else."""
    ran = acme.run(acme.bundle(root(acme), "/bin/cat", "/home/app/.env", hooks={}))
    assert ran.status != 0
    assert ran.stdout == b""


def test_a_container_whose_delivery_fails_does_not_start(acme):
    (acme.cli.state / "credentials/embedded.age").unlink()
    ran = acme.run(acme.bundle(root(acme), "/bin/echo", "started"))
    assert ran.status != 0
    assert ran.stdout == b""
    assert "credential_missing" in ran.stderr
    assert acme.left() == []
    assert not env_file(acme).exists()


def test_continue_starts_it_without_secrets_and_records_that(acme):
    acme.cli.must("suspend", "acme")
    hooks = {"createRuntime": [acme.hook("--on-provision-failure=continue")]}
    ran = acme.run(acme.bundle(root(acme), "/bin/echo", "started", hooks=hooks)).must()
    assert ran.text == "started\n"
    last = acme.cli.must("audit", "tail", "--json").json["items"][-1]
    assert (last["event"], last["detail"]["code"]) == ("started_regardless", "tenant_suspended")


@pytest.mark.parametrize("jail", ["nobody", "acm", None])
@pytest.mark.parametrize(("policy", "starts"), [("start", True), ("refuse", False)])
def test_a_container_without_a_tenant_starts_or_not_by_policy(acme, jail, policy, starts):
    acme.cli.settings["COLIBRI_UNREGISTERED_JAILS"] = policy
    ran = acme.run(acme.bundle(root(acme), "/bin/echo", "started", jail=jail))
    assert (ran.status == 0) is starts
    assert (ran.text == "started\n") is starts
    assert not env_file(acme).exists()


def test_another_tenants_name_on_this_root_is_refused(acme):
    acme.cli.tenant("beta", API_KEY="the-neighbours")
    ran = acme.run(acme.bundle(root(acme), "/bin/echo", "started", jail="beta"))
    assert ran.status != 0
    assert "jail_root_mismatch" in ran.stderr
    assert not env_file(acme).exists()


def test_what_a_mount_of_the_containers_would_hide_is_not_delivered(acme):
    bundle = acme.bundle(root(acme), "/bin/echo", "started")
    config = json.loads((bundle / "config.json").read_text())
    hidden = {"destination": "/home/app", "type": "tmpfs", "source": "tmpfs", "options": []}
    config["mounts"].append(hidden)
    (bundle / "config.json").write_text(json.dumps(config))
    ran = acme.run(bundle)
    assert ran.status != 0
    assert "shadowed" in ran.stderr
    assert ran.stdout == b""
    assert not env_file(acme).exists()


def test_a_process_that_has_another_directory_there_is_refused(acme):
    """The state names the jail's root and bundle, but a process that lives somewhere else."""
    elsewhere = acme.place / "elsewhere"
    (elsewhere / str(root(acme)).lstrip("/")).mkdir(parents=True)
    bundle = acme.bundle(root(acme), "/bin/true")
    with subprocess.Popen(["/bin/sleep", "60"]) as ours, _chrooted(elsewhere) as other:
        try:
            _until_moved(other.pid, elsewhere)
            refused = _told(acme, bundle, other.pid)
            assert (refused.status, refused.error["code"]) == (5, "jail_root_mismatch")
            assert not env_file(acme).exists()
            _told(acme, bundle, ours.pid).must()
        finally:
            ours.kill()
            other.kill()
    gone = _told(acme, bundle, ours.pid)
    assert (gone.status, gone.error["code"]) == (5, "jail_not_running")


def _told(acme: Runtime, bundle, pid: int):
    said = {"ociVersion": "1.0.2", "status": "creating", "pid": pid, "bundle": str(bundle)}
    said["annotations"] = {"colibri.jail": "acme"}
    return acme.cli.run("hook", "oci", stdin=json.dumps(said).encode())


def _until_moved(pid: int, place) -> None:
    give_up = time.monotonic() + 10
    while os.readlink(f"/proc/{pid}/root") != str(place):
        assert time.monotonic() < give_up
        time.sleep(0.01)


def _chrooted(place) -> subprocess.Popen:
    containers.furnish(place)
    return subprocess.Popen(["/usr/sbin/chroot", str(place), "/bin/sleep", "60"])


def test_a_container_that_counts_users_by_a_map_of_its_own(state_dir, why_not):
    if why_not:
        pytest.skip(why_not)
    # Its root user, who is nobody outside, must get to its root: not below the closed state.
    state_dir.chmod(0o711)
    cli = Cli(state_dir, {"COLIBRI_JAIL_ROOT_BASE": f"{state_dir}/jails"}).ready()
    tree = cli.tenant("acme", API_KEY=VALUE).parents[2]
    for each in (tree.parent, tree.parent.parent):
        each.chmod(0o711)
    containers.furnish(tree)
    acme = Runtime(state_dir, cli)
    ids = [{"containerID": 0, "hostID": 100_000, "size": 65_536}]
    for each in [tree, *tree.rglob("*")]:
        status = each.lstat()
        os.chown(each, status.st_uid + 100_000, status.st_gid + 100_000, follow_symlinks=False)
    bundle = acme.bundle(tree, "/bin/sh", "-c", "id -u; ls -ln /home/app/.env; cat /home/app/.env")
    config = json.loads((bundle / "config.json").read_text())
    config["linux"] |= {"uidMappings": ids, "gidMappings": ids}
    config["linux"]["namespaces"].append({"type": "user"})
    (bundle / "config.json").write_text(json.dumps(config))
    ran = acme.run(bundle).must()
    assert VALUE in ran.text
    assert ran.text.splitlines()[1].split()[2:4] == ["1000", "1000"]
    assert (tree / "home/app/.env").stat().st_uid == 101_000


def test_a_bundle_that_others_can_write_is_refused(acme):
    bundle = acme.bundle(root(acme), "/bin/echo", "started")
    (bundle / "config.json").chmod(0o666)
    ran = acme.run(bundle)
    assert ran.status != 0
    assert "unsafe_base" in ran.stderr


def test_no_descriptor_and_no_variable_of_the_hook_gets_in(acme):
    script = "ls -l /proc/self/fd; env"
    ran = acme.run(acme.bundle(root(acme), "/bin/sh", "-c", script)).must()
    assert "COLIBRI" not in ran.text
    assert str(acme.cli.state) not in ran.text
    assert VALUE not in ran.text


def test_a_state_that_is_none_starts_nothing(acme):
    for said in (b"", b"{}", b"x" * 300_000, json.dumps({"ociVersion": "1.0.2"}).encode()):
        answer = acme.cli.run("hook", "oci", stdin=said)
        assert (answer.status, answer.error["code"]) == (2, "usage")


def test_ten_started_at_once_each_find_their_own_and_nothing_of_a_neighbours(state_dir, why_not):
    """Ten, since CI has two cores; `python -m tests.bench hook 100` starts a hundred."""
    if why_not:
        pytest.skip(why_not)
    cli = Cli(state_dir).ready()
    runtime, bundles = Runtime(state_dir, cli), {}
    for name in (f"t{number}" for number in range(10)):
        cli.tenant(name, API_KEY=f"value-of-{name}.")
        tree = cli.state / "jails" / name / "root"
        containers.furnish(tree)
        kept = state_dir / f"bundle-{name}"
        runtime.bundle(tree, "/bin/cat", "/home/app/.env", jail=name).rename(kept)
        bundles[name] = kept
    with ThreadPoolExecutor(len(bundles)) as pool:
        ran = list(pool.map(lambda name: runtime.run(bundles[name], name), bundles))
    for name, each in zip(bundles, ran, strict=True):
        text = each.must().text
        assert f"value-of-{name}." in text
        assert text.count("value-of-") == 1
    assert runtime.left() == []
    assert [entry.name for entry in (cli.state / "hooks").iterdir()] == ["embedded.lead"]
