"""The account as one credential: what is taken, what is kept, and that it never shows itself."""

from __future__ import annotations

import json

import pytest

from tests.kit import fake_bw
from vault_svc.adapters.sources.vaultwarden import account as accounts
from vault_svc.adapters.sources.vaultwarden.account import Account
from vault_svc.adapters.sources.vaultwarden.helper import Helper
from vault_svc.domain.secret import SecretValue
from vault_svc.errors import ColibriError

AWKWARD = " pä$$wörd'\"`\\%41+&=#{}<>|;!?*~\t\u00a0\U0001f600 "


def made(**more) -> Account:
    given = {
        "server": fake_bw.SERVER, "organization_id": fake_bw.ORG, "organization_name": "Acme",
        "client_id": f"user.{fake_bw.USER}", "device_id": fake_bw.DEVICE,
        "client_secret": SecretValue("canary-secret"), "password": SecretValue(AWKWARD), "ca": "",
        "helper": Helper("/opt/bw", "", "2026.8.0", "00"),
    }  # fmt: skip
    return Account(**(given | more))


def test_it_comes_back_as_it_was_kept():
    again = accounts.parse(made().blob(), "file:x")
    assert again.password.reveal() == AWKWARD
    assert again.blob().same_as(made().blob())
    assert again.user_id == fake_bw.USER


def test_it_never_shows_itself():
    assert "canary" not in f"{made()!r} {made()} {made().blob()}"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda blob: blob[:-1],
        lambda blob: "[]",
        lambda blob: "",
        lambda blob: blob.replace('"version": 1', '"version": 2'),
        lambda blob: blob.replace('"helper"', '"helpers"'),
        lambda blob: blob.replace(fake_bw.ORG, "x"),
        lambda blob: json.dumps(json.loads(blob) | {"password": None}),
        lambda blob: json.dumps(json.loads(blob) | {"helper": {"bw": "x"}}),
    ],
)
def test_anything_else_is_no_account_and_is_not_shown(spoil):
    with pytest.raises(ColibriError) as caught:
        accounts.parse(SecretValue(spoil(made().blob().reveal())), "file:x")
    assert caught.value.code == "credential_missing"
    assert "canary" not in caught.value.line()
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://vault.example.org", "https://vault.example.org"),
        ("https://vault.example.org/", "https://vault.example.org"),
        ("https://vault.example.org:8443/vault/", "https://vault.example.org:8443/vault"),
        ("https://127.0.0.1:1", "https://127.0.0.1:1"),
    ],
)
def test_an_https_address_is_kept_as_bw_keeps_it(url, kept):
    assert accounts.checked_server(url) == kept


@pytest.mark.parametrize(
    "url",
    [
        "http://canary.example", "canary.example", "https:", "https://u:p@v.example",
        "https://v.example?x=1", "https://v.example#x", "https://v.example:x", "ftp://v.example",
        "https://v.example\n", "https://v .example", "https://\u0432.example", "",
    ],
)  # fmt: skip
def test_any_other_address_is_refused_and_not_repeated(url):
    with pytest.raises(ColibriError) as caught:
        accounts.checked_server(url)
    assert caught.value.code == "usage"
    assert not [word for word in ("canary", "u:p", "x=1", "#x") if word in caught.value.line()]


def test_a_client_id_is_a_users():
    assert accounts.checked_client_id(SecretValue(f" user.{fake_bw.USER}\t")) == (
        f"user.{fake_bw.USER}"
    )


@pytest.mark.parametrize(
    "text", [f"organization.{fake_bw.ORG}", fake_bw.USER, "user.", "user.x", "", "canary-secret"]
)
def test_any_other_client_id_is_refused_and_not_repeated(text):
    with pytest.raises(ColibriError) as caught:
        accounts.checked_client_id(SecretValue(text))
    assert caught.value.code == "usage"
    assert "canary" not in caught.value.line()


@pytest.mark.parametrize("text", ["", "a\nb", "a\r", "a\0b", "\ud800", "x" * 70_000])
def test_a_secret_that_bw_could_not_be_given_is_refused(text):
    with pytest.raises(ColibriError) as caught:
        accounts.checked_secret(SecretValue(text), "master password")
    assert caught.value.code == "usage"


def test_every_other_secret_is_taken_as_it_is():
    assert accounts.checked_secret(SecretValue(AWKWARD), "x").reveal() == AWKWARD
