"""The hook in real containers: the OCI runtime itself calls it, nobody else delivers."""

from __future__ import annotations

import json
import os

import pytest

from tests.hook import containers
from tests.hook.containers import Runtime

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
