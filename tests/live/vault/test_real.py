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

from tests.kit.memory import MemoryCredentials
from tests.kit.stores import resolve_one, revealed
from tests.kit.vault import World
from tests.live.vault import process
from tests.vault import place
from vault_svc.adapters.sources.vault.admin import VaultAdmin
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
