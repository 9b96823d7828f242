"""What only a real server can show: seal, restart, certificates, signed JWTs, the dev server."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import secrets
import socket
import subprocess
import time

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from tests.kit.cli import Cli
from tests.kit.memory import MemoryCredentials
from tests.kit.stores import resolve_one, revealed
from tests.kit.vault import World
from tests.live.vault import process
from tests.vault import place
from vault_svc.adapters.sources.vault.admin import VaultAdmin
from vault_svc.domain.secret import SecretValue
from vault_svc.errors import ColibriError
from vault_svc.ports.source_admin import VaultAsked


@pytest.fixture
def real(server):
    """A world of its own on the server that may be sealed."""
    mount = f"kv-{secrets.token_hex(6)}"
    return dataclasses.replace(server.world, mount=mount).prepared()


def test_sealed_in_the_middle_of_a_batch_and_whole_again_after_it(server, real):
    names = [f"t{i:02d}" for i in range(30)]
    for name in names:
        real.put(name, {"NAME": name})
    real.install(*names)
    refs = [real.place.ref(name) for name in names]
    source = place.source(real, concurrency=2, patience_seconds=0.5)
    found = []
    for _, one in source.resolve(refs):
        found.append(one)
        if len(found) == 5:
            server.seal()
    server.unseal()
    bad = [one for one in found if isinstance(one, ColibriError)]
    assert {one.code for one in bad} == {"source_sealed"}
    assert 10 <= len(bad) < 26
    assert [revealed(one)["NAME"] for _, one in source.resolve(refs)] == names


def test_a_short_seal_is_waited_out(server, real):
    real.fill("acme", {"A": "1"})
    source = place.source(real, patience_seconds=20, backoff_seconds=0.2)
    with source.sessions.open(source.account()) as session:
        server.seal()
        opener = subprocess.Popen(["/bin/sleep", "1"])
        opener.wait()
        server.unseal()
        assert session.call(lambda client: client.names()) == ["acme"]


def test_a_new_leader_after_a_restart_is_found(server, real):
    """The process ends and another takes over its storage; tokens stay good."""
    real.fill("acme", {"A": "1"})
    source = place.source(real, patience_seconds=30, backoff_seconds=0.2)
    with source.sessions.open(source.account()) as session:
        server.stop()
        with pytest.raises(ColibriError) as caught:
            place.source(real, account=source.account()).collections()
        assert caught.value.code == "source_unreachable"
        server.start()
        assert resolve_one(place.source(real, account=source.account()),
                           real.place.ref("acme")).code == "source_sealed"  # fmt: skip
        server.unseal()
        assert session.call(lambda client: client.names()) == ["acme"]


def test_login_by_a_certificate(server, real, state_dir):
    certificate, key = server.authority.issue(f"client-{secrets.token_hex(4)}")
    for path in (certificate, key):
        (state_dir / path.name).touch(mode=0o600)
        (state_dir / path.name).write_bytes(path.read_bytes())
    real.ask("POST", "sys/auth/cert", {"type": "cert"})
    role = {"certificate": server.authority.file.read_text(),
            "token_policies": ["colibri-orchestrator"]}  # fmt: skip
    real.must("POST", "auth/cert/certs/colibri", role)
    real.fill("acme", {"A": "1"})
    admin = VaultAdmin(MemoryCredentials(), "memory", place.sessions())
    asked = VaultAsked(
        server=real.url, ca_file=str(real.ca_file), mount=real.mount, method="cert",
        role="colibri", cert_file=str(state_dir / certificate.name),
        key_file=str(state_dir / key.name),
    )  # fmt: skip
    assert admin.begin(asked).finish([]).collections == 1
    (state_dir / key.name).chmod(0o604)
    with pytest.raises(ColibriError) as caught:
        admin.test()
    assert caught.value.code in {"credential_unsafe", "credential_missing"}


def signed_jwt(key: ec.EllipticCurvePrivateKey, **claims) -> str:
    def part(document) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=")

    body = part({"alg": "ES256", "typ": "JWT"}) + b"." + part(claims)
    r, s = utils.decode_dss_signature(key.sign(body, ec.ECDSA(hashes.SHA256())))
    signature = r.to_bytes(32) + s.to_bytes(32)
    return (body + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def test_login_by_a_jwt(real, state_dir):
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    real.ask("POST", "sys/auth/jwt", {"type": "jwt"})
    real.must("POST", "auth/jwt/config", {"jwt_validation_pubkeys": [public.decode()]})
    role = {"role_type": "jwt", "user_claim": "sub", "bound_audiences": ["colibri"],
            "bound_subject": "host", "token_policies": ["colibri-orchestrator"]}  # fmt: skip
    real.must("POST", "auth/jwt/role/colibri", role)
    now = int(time.time())
    file = state_dir / "jwt"
    file.touch(mode=0o600)
    file.write_text(signed_jwt(key, sub="host", aud="colibri", iat=now, exp=now + 300))
    admin = VaultAdmin(MemoryCredentials(), "memory", place.sessions())
    asked = VaultAsked(server=real.url, ca_file=str(real.ca_file), mount=real.mount,
                       method="jwt", role="colibri", auth_file=str(file))  # fmt: skip
    assert admin.begin(asked).finish([]).collections == 0
    file.write_text(signed_jwt(key, sub="other", aud="colibri", iat=now, exp=now + 300))
    with pytest.raises(ColibriError) as caught:
        admin.test()
    assert caught.value.code == "source_auth_failed"


class InNamespace(World):
    """A world whose every path lies in a namespace."""

    def ask(self, method, path, body=None, **more):
        return super().ask(method, f"{self.namespace}/{path}", body, **more)


def in_namespace(real) -> InNamespace:
    """Make a namespace of its own, prepared as an operator would in it."""
    namespace = f"ns-{secrets.token_hex(4)}"
    status, said = real.ask("POST", f"sys/namespaces/{namespace}", {})
    if status == 404:
        pytest.skip(f"this server has no namespaces: {said}")
    made = InNamespace(real.url, real.root, real.ca_file)
    made.namespace = namespace
    return made.prepared()


def test_a_namespace_is_a_whole_server_of_its_own(real):
    """Wrapped login, policies, listing, versions and reads; nothing goes from one to another."""
    one, other = in_namespace(real), in_namespace(real)
    for world in (one, other):
        world.fill("acme", {"IN": world.namespace})
    admin = VaultAdmin(MemoryCredentials(), "memory", place.sessions())
    asked = VaultAsked(server=one.url, ca_file=str(one.ca_file), namespace=one.namespace)
    role_id, wrapped = one.approle()
    begun = admin.begin(asked)
    assert begun.finish([SecretValue(role_id), SecretValue(wrapped)]).collections == 1
    assert {each.state for each in admin.compared([], [], {}, None)} == {"same"}
    source = place.source(one, account=admin.stored())
    found = resolve_one(source, one.place.ref("acme"))
    assert revealed(found) == {"IN": one.namespace}
    with source.sessions.open(admin.stored()) as session:
        token, tenants = session.client.wire.token, session.client.mint("acme", uses=9)
        for world, status in ((one, 200), (other, 403)):
            path = f"{world.mount}/data/tenants/acme"
            assert world.ask("GET", path, token=tenants)[0] == status
            assert world.ask("GET", path, token=token)[0] == 403
        assert one.ask("LIST", f"{one.mount}/metadata/tenants", token=token)[0] == 200
        assert other.ask("LIST", f"{other.mount}/metadata/tenants", token=token)[0] == 403
    with pytest.raises(ColibriError) as caught:
        place.source(other, account=place.account(other, namespace="elsewhere")).collections()
    assert caught.value.code == "source_auth_failed"


def test_a_rate_limit_of_the_server_is_waited_out_within_the_patience(real):
    """429 and Retry-After as the server's own quota gives them."""
    names = [f"t{i}" for i in range(6)]
    for name in names:
        real.put(name, {"NAME": name})
    real.install(*names)
    source, refs = place.source(real, patience_seconds=30), [real.place.ref(n) for n in names]
    hasty = place.source(real, account=source.account(), patience_seconds=0.01)
    quota = f"sys/quotas/rate-limit/{real.mount}"
    real.must("POST", quota, {"path": f"{real.mount}/", "rate": 1.0, "interval": "1s"})
    try:
        before = time.monotonic()
        assert [revealed(one)["NAME"] for _, one in source.resolve(refs)] == names
        assert time.monotonic() - before > 2
        refused = [one for _, one in hasty.resolve(refs) if isinstance(one, ColibriError)]
        assert {one.code for one in refused} == {"source_rate_limited"}
    finally:
        real.must("DELETE", quota)


def test_a_signed_ssh_key_has_no_lease_and_follows_its_own_end(real, state_dir):
    """The whole way by the command; each pass leaves it until two thirds are over."""
    ssh = f"ssh-{secrets.token_hex(4)}"
    real.must("POST", f"sys/mounts/{ssh}", {"type": "ssh"})
    real.must("POST", f"{ssh}/config/ca", {"generate_signing_key": True, "key_type": "ed25519"})
    real.must("POST", f"{ssh}/roles/web", {
        "key_type": "ca", "allow_user_certificates": True, "allowed_users": "deploy",
        "default_user": "deploy", "ttl": "8s", "max_ttl": "8s", "not_before_duration": "1s",
    })  # fmt: skip
    cli = place.logged_in(Cli(state_dir).ready(), real)
    file = cli.tenant("acme")
    cli.must("update-tenant", "acme", "--profile", "shell")  # keys have more than one line
    mapped = [f"{name}={ssh}/issue/web#{field}" for name, field in
              (("SSH_KEY", "private_key"), ("SSH_CERTIFICATE", "signed_key"))]  # fmt: skip
    cli.must("lease", "add", "acme", *mapped, "--param", "key_type=ed25519")
    operator = place.operator_file(cli, real)
    cli.must("source", "policies", "vault", "--apply", "--operator-file", operator)
    cli.must("provision", "acme")
    first = file.read_bytes()
    assert b"SSH_KEY=" in first
    assert "unchanged" in cli.must("renew", "--json").text
    assert file.read_bytes() == first
    end = time.monotonic() + 20
    while "redelivered" not in cli.must("renew", "--json").text:
        assert time.monotonic() < end
        time.sleep(0.5)
    assert file.read_bytes() != first
    cli.must("revoke", "acme")
    assert not file.exists()


def test_a_server_that_was_never_initialised_says_so(tmp_path):
    binary = process.binary()
    if binary is None:
        pytest.skip("set BAO_BIN or VAULT_BIN")
    server = process.Server.uninitialised(binary, tmp_path)
    try:
        admin = VaultAdmin(MemoryCredentials(), "memory", place.sessions())
        with pytest.raises(ColibriError) as caught:
            admin.begin(VaultAsked(server=server.url, ca_file=str(server.world.ca_file)))
        assert (caught.value.code, "not initialised" in caught.value.line()) == (
            "source_sealed",
            True,
        )
    finally:
        server.close()


def test_the_dev_server_is_read_as_it_comes(tmp_path):
    """Plain http to the loopback address, and the mount that is there by itself."""
    binary = process.binary()
    if binary is None:
        pytest.skip("set BAO_BIN or VAULT_BIN")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    listen = f"-dev-listen-address=127.0.0.1:{port}"
    dev = subprocess.Popen(
        [binary, "server", "-dev", "-dev-root-token-id=dev-root", "-dev-no-store-token", listen],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )  # fmt: skip
    try:
        world = World(f"http://127.0.0.1:{port}", "dev-root")
        end = time.monotonic() + 60
        while True:
            try:
                world.must("GET", "secret/config")
                break
            except (OSError, AssertionError):
                assert time.monotonic() < end
                time.sleep(0.1)
        world.must("POST", "sys/auth/approle", {"type": "approle"})
        world.must("POST", "auth/approle/role/colibri",
                   {"token_policies": ["colibri-orchestrator"]})  # fmt: skip
        world.install()
        world.fill("acme", {"A": "1"})
        assert revealed(resolve_one(place.source(world), world.place.ref("acme"))) == {"A": "1"}
    finally:
        dev.terminate()
        dev.wait(timeout=20)
