"""`keyring:SERVICE/NAME`: a workstation's keyring, by choice (decision 16)."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Final, cast

from vault_svc.domain.secret import SecretValue
from vault_svc.errors import ColibriError, printable

# Backends that keep nothing, or keep it where every reader of the file can read it: by class
# name, because keyrings.alt moves its modules, and by the word in either.
_NO_KEEPERS: Final = ("keyring.backends.fail", "keyring.backends.null")
_PLAIN_WORDS: Final = ("plaintext", "plain_text")


class KeyringCredentials:
    """Reads and replaces entries of a keyring that encrypts them; imported only on use."""

    def __init__(self, backend: Callable[[], Any] | None = None) -> None:
        """Take what gives the backend, by default the keyring library's own choice."""
        self._choose = backend or _library_choice
        self._chosen: Any = None

    def get(self, rest: str) -> SecretValue:
        """Return the entry; raise `credential_missing`, `credential_unsafe` or `usage`."""
        service, name = _split(rest)
        text = self._call("get_password", service, name)
        if text is None:
            raise ColibriError(
                "credential_missing", f"the keyring has no entry '{printable(rest)}'"
            )
        return SecretValue(cast("str", text))

    def put(self, rest: str, value: SecretValue) -> None:
        """Replace the entry; raise `credential_unsafe` where it would lie in plain text."""
        self._call("set_password", *_split(rest), value.reveal())

    def exists(self, rest: str) -> bool:
        """Say whether there is an entry; a keyring has no question that does not read it."""
        return self._call("get_password", *_split(rest)) is not None

    def delete(self, rest: str) -> None:
        """Remove the entry if it is there."""
        if self.exists(rest):
            self._call("delete_password", *_split(rest))

    def _call(self, method: str, *arguments: str) -> object:
        backend = self._backend()
        failure = ""
        try:
            return cast("object", getattr(backend, method)(*arguments))
        except Exception as error:  # noqa: BLE001 - every backend raises its own types
            failure = type(error).__name__
        # Outside the handler: neither message nor context of a foreign error is passed on.
        raise ColibriError(
            "credential_missing",
            f"the keyring did not answer ({failure})",
            hint="unlock it, or keep the credential in a file: URI",
        )

    def _backend(self) -> Any:
        if self._chosen is None:
            self._chosen = self._choose()
        for part in _parts(self._chosen):
            _refuse_plain(part)
        return self._chosen


def _library_choice() -> Any:
    try:
        return importlib.import_module("keyring").get_keyring()
    except ImportError as error:
        raise ColibriError(
            "helper_missing",
            "the Python package keyring cannot be imported",
            hint="install it, or keep the credential in a file: URI",
        ) from error


def _parts(backend: Any) -> tuple[Any, ...]:
    """Return the backend and those it chains (keyring.backends.chainer)."""
    chained = getattr(backend, "backends", ())
    return (backend, *chained) if isinstance(chained, list | tuple) else (backend,)


def _refuse_plain(backend: Any) -> None:
    kind = type(backend)
    where = f"{kind.__module__}.{kind.__qualname__}"
    if kind.__module__.startswith(_NO_KEEPERS) or any(w in where.lower() for w in _PLAIN_WORDS):
        raise ColibriError(
            "credential_unsafe",
            f"the keyring backend {where} keeps no secret, or keeps it in plain text",
            hint="use a desktop session's keyring, or a file: URI",
        )


def _split(rest: str) -> tuple[str, str]:
    service, slash, name = rest.partition("/")
    if not (service and slash and name):
        raise ColibriError(
            "usage", f"'keyring:{printable(rest[:128])}' is not keyring:SERVICE/NAME"
        )
    return service, name
