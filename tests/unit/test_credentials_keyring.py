"""`keyring:` credentials: only where the backend encrypts them."""

from __future__ import annotations

import sys
import types

import pytest

from vault_svc.adapters.credentials.keyring import KeyringCredentials
from vault_svc.domain.secret import SecretValue
from vault_svc.errors import ColibriError


class Backend:
    """A keyring backend as the library's own look."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service, name):
        return self.kept.get((service, name))

    def set_password(self, service, name, text):
        self.kept[service, name] = text

    def delete_password(self, service, name):
        del self.kept[service, name]


def code_of(call) -> str:
    with pytest.raises(ColibriError) as caught:
        call()
    assert "canary" not in caught.value.line()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value.code


def test_an_entry_is_kept_replaced_and_removed():
    backend = Backend()
    ring = KeyringCredentials(lambda: backend)
    assert not ring.exists("colibri/org")
    assert code_of(lambda: ring.get("colibri/org")) == "credential_missing"
    ring.put("colibri/org", SecretValue("canary"))
    assert backend.kept == {("colibri", "org"): "canary"}
    assert ring.get("colibri/org").reveal() == "canary"
    ring.delete("colibri/org")
    ring.delete("colibri/org")
    assert not ring.exists("colibri/org")


def of_kind(module: str, name: str) -> Backend:
    return type(name, (Backend,), {"__module__": module})()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("keyring.backends.fail", "Keyring"),
        ("keyring.backends.null", "Keyring"),
        ("keyrings.alt.file", "PlaintextKeyring"),
        ("somewhere.plaintext_file", "Keyring"),
    ],
)
@pytest.mark.parametrize("chained", [False, True])
def test_a_backend_that_keeps_nothing_or_plain_text_is_refused(module, name, chained):
    backend = of_kind(module, name)
    if chained:
        outer = Backend()
        outer.backends = [Backend(), backend]
        ring = KeyringCredentials(lambda: outer)
    else:
        ring = KeyringCredentials(lambda: backend)
    for call in (
        lambda: ring.put("colibri/org", SecretValue("canary")),
        lambda: ring.get("colibri/org"),
        lambda: ring.exists("colibri/org"),
        lambda: ring.delete("colibri/org"),
    ):
        assert code_of(call) == "credential_unsafe"
    assert backend.kept == {}


def test_the_librarys_own_failing_backend_is_refused():
    from keyring.backends.fail import Keyring

    assert code_of(lambda: KeyringCredentials(Keyring).get("a/b")) == "credential_unsafe"


def test_a_backends_error_is_told_without_its_words():
    class Locked(Backend):
        def set_password(self, service, name, text):
            raise RuntimeError(f"cannot store {text}")

    ring = KeyringCredentials(Locked)
    assert code_of(lambda: ring.put("a/b", SecretValue("canary"))) == "credential_missing"


@pytest.mark.parametrize("rest", ["", "a", "a/", "/b"])
def test_a_uri_needs_service_and_name(rest):
    assert code_of(lambda: KeyringCredentials(Backend).get(rest)) == "usage"


def test_the_library_is_imported_on_use_only(monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    ring = KeyringCredentials()
    with pytest.raises(ColibriError) as caught:
        ring.get("a/b")
    assert caught.value.code == "helper_missing"


def test_the_librarys_choice_is_asked(monkeypatch):
    backend = Backend()
    library = types.ModuleType("keyring")
    library.get_keyring = lambda: backend
    monkeypatch.setitem(sys.modules, "keyring", library)
    KeyringCredentials().put("a/b", SecretValue("x"))
    assert backend.kept == {("a", "b"): "x"}
