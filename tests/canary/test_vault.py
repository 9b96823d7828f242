"""A static tenant of a Vault: values, account and tokens stay where they belong."""

from __future__ import annotations

import json

import pytest

from tests.kit.vault import Double, World

pytestmark = pytest.mark.canary


@pytest.fixture
def world():
    with Double() as double:
        yield World(double.url, double.root, server=double).prepared()


@pytest.fixture
def minted(world, monkeypatch):
    """Every token the server makes, also those that are used up at once."""
    made = []
    real = world.server.state.new_token

    def noted(*args, **more):
        token = real(*args, **more)
        made.append(token.id)
        return token

    monkeypatch.setattr(world.server.state, "new_token", noted)
    return made


def test_a_life_at_a_vault_leaves_no_secret_anywhere_else(host, world, minted):
    role_id, wrapped = world.approle()
    host.marks.add("wrapping token", wrapped)
    host.marks.add("operator's token", world.root)

    def colibri(*words: str, **more):
        said = host.colibri("-v", *words, **more)
        for token in minted:
            host.marks.add(f"token {token[:6]}", token)
        for role in world.server.state.auth_roles.values():
            host.marks.add("secret id", *role["ids"])
        minted.clear()
        host.known.clear()
        host.look()
        return said

    world.fill("acme", {"API_KEY": host.value("api")})
    login = ("source", "login", "vault", "--server", world.url, "--default")
    colibri(*login, stdin=f"{role_id}\n{wrapped}\n")
    operator = ("--operator-file", host.input_file(world.root))
    value = host.value("beta")
    colibri("secret", "set", "beta", "KEY", "--source", "vault", *operator, stdin=value)
    colibri("source", "policies", "vault", "--apply", *operator, "--json")
    for name in ("acme", "beta"):
        colibri("register-tenant", name, "--create-jail", "--tier", "scratch")
    colibri("provision", "--all", "--json")
    delivered = host.env_file("acme").read_bytes()
    assert any(name.startswith("value api") for name in host.marks.find(delivered))
    world.put("acme", {"API_KEY": host.value("second")})
    quoting = json.dumps({"errors": [f"near {host.value('quoted')}"], "data": value}).encode()
    for status in (403, 500, 200):
        world.server.fault("data/tenants/acme", status, quoting, times=1)
    colibri("provision", "--all", "--json", status=9)
    world.server.heal()
    world.put("acme", {"API_KEY": host.value("third")})
    colibri("provision", "acme", "--json")
    colibri("source", "doctor", "vault", "--json", status=None)
    colibri("offboard", "acme", "--json")
    colibri("source", "logout", "vault")
    assert host.found == set()
    assert len([name for name in host.marks.pieces if name.startswith("token")]) >= 8
    (host.around / "planted").write_text(host.marks.pieces["secret id"][0].decode())
    host.look()
    assert {name for _, name in host.found} == {"secret id"}, "the hunt is blind"
