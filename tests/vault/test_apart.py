"""Tenants are apart at the server: by its own refusals, not by ours."""

from __future__ import annotations

import pytest

from tests.kit.stores import resolve_one
from tests.vault import place
from vault_svc.adapters.sources.vault.refusal import Refusal
from vault_svc.errors import ColibriError


@pytest.fixture
def two(world):
    world.fill("acme", {"A": "of acme"})
    world.fill("beta", {"A": "of beta"})
    return world


@pytest.fixture
def orchestrator(two):
    """Yield a client with the orchestrator's own token."""
    source = place.source(two)
    with source.sessions.open(source.account()) as session:
        yield session.client


def every_path(world, name: str) -> list[tuple[str, str]]:
    mount = world.mount
    leaf = f"tenants/{name}"
    return [
        ("GET", f"{mount}/data/{leaf}"),
        ("POST", f"{mount}/data/{leaf}"),
        ("PATCH", f"{mount}/data/{leaf}"),
        ("DELETE", f"{mount}/data/{leaf}"),
        ("GET", f"{mount}/metadata/{leaf}"),
        ("DELETE", f"{mount}/metadata/{leaf}"),
        ("POST", f"{mount}/destroy/{leaf}"),
        ("POST", f"{mount}/undelete/{leaf}"),
        ("LIST", f"{mount}/metadata/tenants/"),
        ("POST", "auth/token/create"),
        ("POST", "auth/token/create/colibri-tenant"),
        ("GET", f"sys/policies/acl/colibri-tenant-{name}"),
        ("PUT", f"sys/policies/acl/colibri-tenant-{name}"),
    ]


def test_a_tenants_token_is_refused_every_path_of_another(two, orchestrator):
    for method, path in every_path(two, "beta"):
        token = orchestrator.mint("acme", uses=5)
        status, document = two.ask(method, path, {"data": {}}, token=token)
        assert status == 403, f"{method} {path}: {status} {document}"
    for path in (f"{two.mount}/data/tenants/acme-dev", f"{two.mount}/data/tenants/acme/below"):
        assert two.ask("GET", path, token=orchestrator.mint("acme"))[0] == 403


def test_a_tenants_token_reads_its_own_and_is_used_up_by_it(two, orchestrator):
    token = orchestrator.mint("acme")
    path = f"{two.mount}/data/tenants/acme"
    status, document = two.ask("GET", path, token=token)
    assert (status, document["data"]["data"]) == (200, {"A": "of acme"})
    assert two.ask("GET", path, token=token)[0] == 403
    assert two.ask("GET", "auth/token/lookup-self", token=token)[0] == 403


def test_the_orchestrator_reads_no_tenants_data(two, orchestrator):
    token = orchestrator.wire.token
    for name in ("acme", "beta"):
        assert two.ask("GET", f"{two.mount}/data/tenants/{name}", token=token)[0] == 403
        with pytest.raises(Refusal) as caught:
            orchestrator.read(name)
        assert caught.value.status == 403
    assert two.ask("GET", f"{two.mount}/metadata/tenants/acme", token=token)[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "auth/token/create", {"policies": ["colibri-tenant-acme"]}),
        ("POST", "auth/token/create-orphan", {"policies": ["colibri-tenant-acme"]}),
        ("PUT", "sys/policies/acl/colibri-tenant-acme", {"policy": "x"}),
        ("PUT", "sys/policies/acl/colibri-orchestrator", {"policy": "x"}),
        ("DELETE", "sys/policies/acl/colibri-orchestrator", None),
        ("POST", "auth/token/roles/colibri-tenant", {"allowed_policies_glob": ["*"]}),
        ("POST", "auth/approle/role/colibri/secret-id", {}),
        ("LIST", "sys/policies/acl", None),
    ],
)
def test_the_orchestrator_can_give_itself_nothing(two, orchestrator, method, path, body):
    assert two.ask(method, path, body, token=orchestrator.wire.token)[0] == 403


@pytest.mark.parametrize("policies", [["root"], ["default"], ["colibri-orchestrator"], ["other"]])
def test_the_role_makes_no_other_tokens(two, orchestrator, policies):
    status, _ = two.ask(
        "POST", "auth/token/create/colibri-tenant", {"policies": policies},
        token=orchestrator.wire.token,
    )  # fmt: skip
    assert status == 400


def test_a_role_that_gives_more_than_was_asked_is_not_used(two):
    """Its tokens would live on, or read more: the read stops before it."""
    two.must("POST", "auth/token/roles/colibri-tenant", {"token_num_uses": 1})
    source = place.source(two)
    with source.sessions.open(source.account()) as session:
        with pytest.raises(ColibriError) as caught:
            session.client.mint("acme", uses=3)
        assert caught.value.code == "source_forbidden"


def test_after_offboarding_no_token_of_the_tenant_reads_anything(two):
    source, ref = place.source(two), two.place.ref("acme")
    source.end_access(ref, for_good=True)
    assert two.ask("GET", "sys/policies/acl/colibri-tenant-acme")[0] == 404
    with source.sessions.open(source.account()) as session:
        token = session.client.mint("acme")
        assert two.ask("GET", f"{two.mount}/data/tenants/acme", token=token)[0] == 403
    role = two.must("GET", "auth/token/roles/colibri-tenant")["data"]
    assert "acme" not in repr(role)
    assert resolve_one(source, two.place.ref("beta")).names() == ("A",)
