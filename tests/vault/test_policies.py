"""policies/vault: whole, what they promise, and drift that is shown."""

from __future__ import annotations

import io
import json
from pathlib import Path

import hcl2
import pytest
from lark.exceptions import UnexpectedInput

from tests.vault import place
from vault_svc.adapters.sources.vault import policies
from vault_svc.adapters.sources.vault.places import Place
from vault_svc.domain.secret import SecretValue
from vault_svc.errors import ColibriError

FOLDER = Path(__file__).parents[2] / "policies" / "vault"
TEMPLATES = sorted(path.name for path in FOLDER.glob("*.hcl"))


def rules(text: str) -> dict[str, list[str]]:
    """Return path → capabilities, read by a real parser."""
    found = hcl2.load(io.StringIO(text))
    assert set(found) == {"path"}
    return {
        path.strip('"'): [each.strip('"') for each in body["capabilities"]]
        for block in found["path"]
        for path, body in block.items()
    }


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_is_hcl_of_paths_alone(name):
    text = (FOLDER / name).read_text()
    found = rules(text)
    assert found
    assert text.count("path ") >= len(found)  # no path stands twice: HCL keeps the last one


def test_the_parser_sees_what_is_no_hcl():
    with pytest.raises(UnexpectedInput):
        rules('path "x" { capabilities = ["read" }')


@pytest.mark.parametrize("version", [1, 2])
def test_rendered_they_hold_no_placeholder_and_nothing_too_much(version):
    made = {each.name: each for each in policies.rendered(Place("kv/a", "t", version), ["acme"])}
    assert set(made) == {
        "colibri-orchestrator", "colibri-tenant", "colibri-tenant-acme", "audit-device",
    }  # fmt: skip
    assert not any("@" in each.text for each in made.values())
    data = "kv/a/data/t/acme" if version == 2 else "kv/a/t/acme"
    assert rules(made["colibri-tenant-acme"].text) == {data: ["read"]}
    orchestrator = rules(made["colibri-orchestrator"].text)
    assert not any(
        path.startswith(f"kv/a/{'data' if version == 2 else 't/+'}") for path in orchestrator
    )
    assert not any({"create", "sudo", "patch"} & set(each) for each in orchestrator.values())
    writable = {path for path, each in orchestrator.items() if "update" in each}
    assert writable == {
        "auth/token/create/colibri-tenant", "auth/token/renew-self", "auth/token/revoke-self",
    }  # fmt: skip
    role = json.loads(made["colibri-tenant"].text)
    assert role["allowed_policies_glob"] == ["colibri-tenant-*"]
    assert role["token_no_default_policy"]


def states(documents) -> dict[str, str]:
    return {each.name: each.state for each in documents}


def test_applied_twice_writes_once_and_then_agrees(world):
    world.put("acme", {"A": "1"})
    admin, operator = place.admin(world), SecretValue(world.root)
    first = states(admin.applied(["beta"], [], {}, operator))
    assert first["colibri-tenant-acme"] == first["colibri-tenant-beta"] == "written"
    assert set(states(admin.applied(["beta"], [], {}, operator)).values()) == {"same"}
    assert set(states(admin.compared(["beta"], [], {}, None)).values()) == {"same"}


def test_drift_is_shown_as_a_diff_and_mended(world):
    world.fill("acme", {"A": "1"})
    world.must(
        "PUT",
        "sys/policies/acl/colibri-tenant-acme",
        {"policy": f'path "{world.mount}/data/*" {{ capabilities = ["read"] }}'},
    )
    world.must("POST", "auth/token/roles/colibri-tenant", {"allowed_policies_glob": ["*"],
               "allowed_policies": ["admin"]})  # fmt: skip
    world.must("DELETE", "sys/policies/acl/colibri-tenant-beta")
    admin = place.admin(world)
    found = {each.name: each for each in admin.compared(["beta"], [], {}, None)}
    assert states(found.values()) == {
        "colibri-orchestrator": "same",
        "colibri-tenant": "differs",
        "colibri-tenant-acme": "differs",
        "colibri-tenant-beta": "missing",
    }
    assert f'-path "{world.mount}/data/*"' in found["colibri-tenant-acme"].difference
    assert '-  "allowed_policies": [' in found["colibri-tenant"].difference
    admin.applied(["beta"], [], {}, SecretValue(world.root))
    assert set(states(admin.compared(["beta"], [], {}, None)).values()) == {"same"}


def test_who_has_left_gets_no_policy_again(world):
    for name in ("acme", "gone"):
        world.put(name, {"A": "1"})
    done = states(place.admin(world).applied(["acme"], ["gone"], {}, SecretValue(world.root)))
    assert "colibri-tenant-gone" not in done
    assert world.ask("GET", "sys/policies/acl/colibri-tenant-gone")[0] == 404


def test_our_own_account_may_install_nothing(world):
    world.put("acme", {"A": "1"})
    world.ask("DELETE", "sys/policies/acl/colibri-tenant-acme")
    source = place.source(world)
    with source.sessions.open(source.account()) as session:
        token = session.client.wire.token
        with pytest.raises(ColibriError) as caught:
            place.admin(world).applied(["acme"], [], {}, SecretValue(token))
    assert caught.value.code == "source_forbidden"
    assert world.ask("GET", "sys/policies/acl/colibri-tenant-acme")[0] == 404
