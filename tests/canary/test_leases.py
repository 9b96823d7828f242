"""Leased values and the tenant's lease token: nowhere but in the delivered file, and sealed."""

from __future__ import annotations

import pytest

from tests.canary.marks import files_below
from tests.kit.vault import Double, World
from tests.vault import place
from tests.vault.bank import Bank
from vault_svc.adapters.credentials.store import UriCredentials
from vault_svc.adapters.sources.vault.policies import rendered
from vault_svc.domain.dotenv import parse_own
from vault_svc.domain.lease import Request

pytestmark = pytest.mark.canary
FIELDS = (("DB_PASSWORD", "password"), ("DB_USER", "username"))


@pytest.fixture
def world():
    with Double() as double:
        yield World(double.url, double.root, server=double).prepared()


def marked(host, world) -> None:
    """Mark what the server gave since: passwords in the file, tokens it minted for tenants."""
    found = parse_own(host.env_file("acme").read_bytes())
    host.marks.add(f"password {len(host.said)}", found["DB_PASSWORD"])
    host.marks.add(f"user {len(host.said)}", found["DB_USER"])
    for token in world.server.state.tokens.values():
        if token.policies == ["colibri-lease-acme"]:
            host.marks.add(f"token {len(host.said)}", token.id)


def everywhere(host) -> set[str]:
    """Return what of the marks is in anything said, or in any file but the delivered one."""
    found = set()
    for said in host.said:
        found |= host.marks.find(said.stdout) | host.marks.find(said.stderr)
        found |= host.marks.find(" ".join(said.arguments).encode())
    for top in (host.state, host.around):
        for path in files_below(top):
            if path.is_file() and path != host.env_file("acme"):
                found |= host.marks.find(path.read_bytes())
    return {name for name in found if not name.startswith("user")}


def test_no_leased_value_or_token_is_anywhere_else(host, world):
    bank = Bank(world, "database", "pki").opened()
    for each in rendered(world.place, (), {"acme": [Request(bank.path(), FIELDS)]}):
        if each.kind == "policy":
            world.must("PUT", f"sys/policies/acl/{each.name}", {"policy": each.text})
        elif each.kind == "token role":
            role = {"allowed_policies_glob": ["colibri-lease-*"], "token_period": 86_400}
            world.must("POST", "auth/token/roles/colibri-lease", role)
    account = place.account(world)
    UriCredentials().put(f"file:{host.state}/credentials/vault", account.blob())
    host.colibri("secret", "set", "acme", "API_KEY", stdin="static")
    host.colibri("register-tenant", "acme", "--create-jail", "--tier", "scratch")
    mappings = [f"{name}={bank.path()}#{field}" for name, field in FIELDS]
    host.colibri("lease", "add", "acme", *mappings)
    host.colibri("-v", "provision", "acme", "--json")
    marked(host, world)
    host.colibri("-v", "lease", "list", "--json")
    host.colibri("-v", "renew", "--json")
    for lease_id in list(world.server.state.leases):
        world.must("PUT", "sys/leases/revoke", {"lease_id": lease_id})
    host.colibri("-v", "renew", "--json")
    marked(host, world)
    host.colibri("secret", "set", "acme", "API_KEY", stdin="second")
    host.colibri("-v", "provision", "--all", "--json")
    bank.fail()
    host.env_file("acme").unlink()
    host.colibri("-v", "provision", "acme", "--json", status=6)
    host.colibri("-v", "revoke", "acme", "--json", status=6)
    bank.heal()
    host.colibri("audit", "tail", "--lines", "200", "--json")
    assert len(host.marks.pieces) >= 6
    assert everywhere(host) == set()
    token = next(t.id for t in world.server.state.tokens.values())
    host.marks.add("planted", token)
    (host.around / "planted").write_text(token)
    assert everywhere(host) == {"planted"}, "the hunt is blind"
    host.colibri("revoke", "acme")
    assert bank.users() == set()
