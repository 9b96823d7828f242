"""Every way to log in, what is asked and kept, and what is refused."""

from __future__ import annotations

import json

import pytest

from tests.kit.memory import MemoryCredentials
from tests.vault import place
from vault_svc.adapters.sources.vault import account as accounts
from vault_svc.adapters.sources.vault.admin import VaultAdmin
from vault_svc.domain.secret import SecretValue
from vault_svc.errors import ColibriError
from vault_svc.ports.source_admin import Asked, VaultAsked

URI = "memory"


def new_admin(credentials=None) -> VaultAdmin:
    made = place.sessions()
    return VaultAdmin(credentials or MemoryCredentials(), URI, made)


def asked(world, **more) -> VaultAsked:
    ca_file = str(world.ca_file) if world.ca_file else None
    return VaultAsked(server=world.url, mount=world.mount, ca_file=ca_file, **more)


def typed(*texts: str) -> list[SecretValue]:
    return [SecretValue(text) for text in texts]


def refused(call) -> ColibriError:
    with pytest.raises(ColibriError) as caught:
        call()
    return caught.value


def test_a_wrapped_secret_id_is_unwrapped_once_and_kept_as_one_credential(world):
    world.fill("acme", {"A": "1"})
    admin = new_admin()
    begun = admin.begin(asked(world))
    assert begun.wanted == ("role id", "wrapped secret id")
    role_id, wrapped = world.approle()
    facts = begun.finish(typed(role_id, wrapped))
    assert (facts.collections, facts.account) == (1, f"approle {role_id}")
    kept = json.loads(admin.credentials.get(URI).reveal())
    assert wrapped not in kept.values()
    assert world.ask("POST", "sys/wrapping/unwrap", {"token": wrapped})[0] == 400
    assert admin.test().collections == 1
    assert admin.logout() is True
    assert refused(admin.show).code == "credential_missing"


def test_a_secret_id_that_was_unwrapped_by_somebody_else_is_refused_as_stolen(world):
    role_id, wrapped = world.approle()
    world.must("POST", "sys/wrapping/unwrap", {"token": wrapped})
    begun = new_admin().begin(asked(world))
    error = refused(lambda: begun.finish(typed(role_id, wrapped)))
    assert error.code == "source_auth_failed"
    assert "stolen" in error.hint


def test_a_wrapping_token_of_something_else_is_not_unwrapped(world):
    """Somebody between could have swapped it for one of their own."""
    if world.server:
        world.server.state.wrapped["s.swapped"] = ("sys/wrapping/wrap", {"secret_id": "theirs"})
        swapped = "s.swapped"
    else:
        made = world.must("POST", "sys/wrapping/wrap", {"secret_id": "theirs"}, wrap="60s")
        swapped = made["wrap_info"]["token"]
    begun = new_admin().begin(asked(world))
    error = refused(lambda: begun.finish(typed(world.approle()[0], swapped)))
    assert error.code == "source_auth_failed"
    assert world.ask("POST", "sys/wrapping/lookup", {"token": swapped})[0] == 200


def test_a_failed_login_leaves_the_stored_account(world):
    credentials = MemoryCredentials()
    credentials.put(URI, place.account(world).blob())
    before = credentials.get(URI).reveal()
    admin = new_admin(credentials)
    begun = admin.begin(asked(world))
    wrong = "00000000-0000-0000-0000-000000000000"
    error = refused(lambda: begun.finish(typed(wrong, world.approle()[1])))
    assert error.code == "source_auth_failed"
    assert credentials.get(URI).reveal() == before


def test_the_stored_account_is_proven_anew_without_being_asked_for(world):
    credentials = MemoryCredentials()
    credentials.put(URI, place.account(world).blob())
    begun = new_admin(credentials).begin(Asked(stored=True))
    assert begun.wanted == ()
    assert begun.finish([]).place == f"{world.mount}/tenants (KV version 2)"


def test_a_tokens_file_is_read_at_each_run_and_its_token_is_not_ended(world, state_dir):
    made = world.must(
        "POST", "auth/token/create", {"policies": ["colibri-orchestrator"], "ttl": "1h"}
    )
    token = made["auth"]["client_token"]
    file = state_dir / "token"
    file.touch(mode=0o600)
    file.write_text(f"{token}\n")
    admin = VaultAdmin(MemoryCredentials(), URI, place.sessions())
    admin.begin(asked(world, method="token-file", auth_file=str(file))).finish([])
    assert admin.test().collections == 0
    assert world.ask("GET", "auth/token/lookup-self", token=token)[0] == 200
    assert token not in admin.credentials.get(URI).reveal()
    file.chmod(0o644)
    assert refused(admin.test).code == "credential_unsafe"
    file.unlink()
    assert refused(admin.test).code == "credential_missing"


def test_a_dead_token_in_the_file_is_refused(world, state_dir):
    file = state_dir / "token"
    file.touch(mode=0o600)
    file.write_text("s.dead")
    begun = new_admin().begin(asked(world, method="token-file", auth_file=str(file)))
    assert refused(lambda: begun.finish([])).code == "source_auth_failed"


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"server": "http://vault.example.org"}, "TLS"),
        ({"server": "http://localhost:8200"}, "TLS"),
        ({"server": "ftp://127.0.0.1"}, "https"),
        ({"server": "https://user:pw@127.0.0.1"}, "https"),
        ({"server": "https://127.0.0.1/?x=1"}, "https"),
        ({"server": "https://127.0.0.1:99999"}, "https"),
        ({"server": "https://vault..example.org"}, "https"),
        ({"server": f"https://{'x' * 64}.example.org"}, "https"),
        ({"server": "https://."}, "https"),
        ({"mount": "a/../b"}, "--mount"),
        ({"mount": "a b"}, "--mount"),
        ({"folder": "ten*nts"}, "--folder"),
        ({"namespace": "a\nb"}, "--namespace"),
        ({"auth_mount": "a?b"}, "--auth-mount"),
        ({"method": "ldap"}, "ldap"),
        ({"method": "jwt"}, "--auth-file"),
        ({"method": "cert", "cert_file": "/x"}, "--key-file"),
        ({"ca_file": "/nonexistent/ca.pem"}, "PEM"),
    ],
)
def test_a_mistake_is_told_before_anything_secret_is_asked(given, word):
    whole = {"server": "https://127.0.0.1:1"} | given
    error = refused(lambda: new_admin().begin(VaultAsked(**whole)))
    assert error.code == "usage"
    assert word in error.line()


def test_nobody_there_is_told_before_anything_secret_is_asked():
    error = refused(lambda: new_admin().begin(VaultAsked(server="http://127.0.0.1:9")))
    assert error.code == "source_unreachable"


@pytest.mark.parametrize("text", ["", "two\nlines", "x" * 5000, "ünicode", "tab\there"])
def test_a_secret_that_is_no_line_is_refused_and_not_shown(text):
    error = refused(lambda: accounts.checked_secret(SecretValue(text), "role id"))
    assert error.code == "usage"
    assert not text or text not in error.line()


def test_a_secret_that_did_not_come_is_said_to_be_missing_not_malformed():
    error = refused(lambda: accounts.checked_secret(SecretValue("\n"), "operator's token"))
    assert (error.code, error.message) == ("usage", "no operator's token came")


@pytest.mark.parametrize(
    "blob", ["", "{}", "[]", '{"format": 1}', '{"format": 2}', "canary", '{"format": 1, "ca": 5}']
)
def test_a_credential_that_is_no_account_is_missing_and_not_shown(blob):
    error = refused(lambda: accounts.parse(SecretValue(blob), "file:x"))
    assert error.code == "credential_missing"
    assert "canary" not in error.line()


def test_a_mount_that_is_not_there_is_said_at_login(world):
    begun = new_admin().begin(
        VaultAsked(server=world.url, mount="nowhere", ca_file=asked(world).ca_file)
    )
    role_id, wrapped = world.approle()
    error = refused(lambda: begun.finish(typed(role_id, wrapped)))
    assert error.code == "collection_not_found"
    assert "--mount" in error.hint


def test_the_wrong_number_of_secrets_is_wrong_usage(world):
    assert refused(lambda: new_admin().begin(asked(world)).finish(typed("one"))).code == "usage"


def test_version_one_is_found_out_at_login(new_world):
    world = new_world(version=1)
    role_id, wrapped = world.approle()
    facts = new_admin().begin(asked(world)).finish(typed(role_id, wrapped))
    assert facts.place == f"{world.mount}/tenants (KV version 1)"


def test_an_account_is_the_same_after_it_was_kept(world):
    first = place.account(world)
    again = accounts.parse(first.blob(), "x")
    assert again.blob().reveal() == first.blob().reveal()
    assert first.secret_id.reveal() not in repr(again)
