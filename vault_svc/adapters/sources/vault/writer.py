"""The write side: an operator's own token changes collections; the orchestrator's may not."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final

from hvac.api.secrets_engines import KvV2

from vault_svc.adapters.sources.limits import misfit
from vault_svc.adapters.sources.vault import failures
from vault_svc.adapters.sources.vault.client import Client, Found
from vault_svc.adapters.sources.vault.options import Rules
from vault_svc.adapters.sources.vault.refusal import Refusal
from vault_svc.adapters.sources.vault.wire import part
from vault_svc.domain import names
from vault_svc.domain.secret import CollectionRef, SecretInfo, SecretValue
from vault_svc.errors import ColibriError

_TRIES: Final = 5
_MILLISECONDS: Final = 23
_POLICY: Final = "the operator's policy must allow create, read and update there"


class VaultWriter:
    """SecretWriter by check-and-set: what another operator wrote meanwhile is never lost."""

    def __init__(self, client: Callable[[], AbstractContextManager[Client]], rules: Rules) -> None:
        """Take how to open a client with the operator's token, and the limits."""
        self._client = client
        self._rules = rules

    def create(self, collection: str) -> CollectionRef:
        """Make an empty collection; raise `collection_taken`."""
        names.collection_name(collection)
        with self._client() as client:
            _refuse_old_engine(client)
            try:
                _write(client, collection, {}, 0)
            except Refusal as refusal:
                if "cas" not in refusal.words:
                    raise _explained(refusal, "write", collection) from None
                raise ColibriError(
                    "collection_taken", f"collection '{collection}' exists"
                ) from None
            return client.place.ref(collection)

    def change(
        self, collection: str, updates: Mapping[str, SecretValue | None], *, create: bool = False
    ) -> tuple[CollectionRef, int]:
        """Set and unset variables in one step; write nothing if nothing changes."""
        names.collection_name(collection)
        for name, value in updates.items():
            if value is not None:
                self._check(names.variable(name, allowed=self._rules.allowed_variables), value)
        with self._client() as client:
            _refuse_old_engine(client)
            for _ in range(_TRIES):
                version = self._change_once(client, collection, updates, create=create)
                if version is not None:
                    return client.place.ref(collection), version
        raise ColibriError("busy", f"others write collection '{collection}' all the time")

    def infos(self, collection: str) -> tuple[SecretInfo, ...]:
        """Return name, length and the time of the newest version, sorted by name."""
        with self._client() as client:
            try:
                found = client.read(names.collection_name(collection))
            except Refusal as refusal:
                raise _explained(refusal, "read", collection) from None
        at = found.revision.partition("@")[2]
        shown = f"{at[:_MILLISECONDS]}Z" if len(at) > _MILLISECONDS else at
        return tuple(
            SecretInfo(name, _length(value), shown) for name, value in sorted(found.data.items())
        )

    def _check(self, name: str, value: SecretValue) -> None:
        if why := misfit(value, self._rules.max_value_bytes):
            raise ColibriError("secret_value_unrepresentable", f"the value of {name} {why}")

    def _change_once(
        self,
        client: Client,
        collection: str,
        updates: Mapping[str, SecretValue | None],
        *,
        create: bool,
    ) -> int | None:
        """Return the version that has the updates, or None if another writer came between."""
        found, version = _current(client, collection, create=create)
        data = self._merged(collection, found, updates)
        if version and found is not None and data == found.data:
            return version
        try:
            return _write(client, collection, data, version)
        except Refusal as refusal:
            if "cas" in refusal.words:
                return None
            raise _explained(refusal, "write", collection) from None

    def _merged(
        self, collection: str, found: Found | None, updates: Mapping[str, SecretValue | None]
    ) -> dict[str, Any]:
        data = dict(found.data) if found else {}
        for name, value in updates.items():
            if value is not None:
                data[name] = value.reveal()
            elif name not in data:
                raise ColibriError(
                    "secret_missing",
                    f"collection '{collection}' has no variable '{name}'",
                    hint="colibri secret list --source vault",
                )
            else:
                del data[name]
        if len(data) > self._rules.max_secrets:
            raise ColibriError(
                "secret_value_unrepresentable",
                f"collection '{collection}' would have {len(data)} variables,"
                f" max_secrets_per_collection is {self._rules.max_secrets}",
            )
        return data


def _current(client: Client, collection: str, *, create: bool) -> tuple[Found | None, int]:
    """Return what is there and its version; None for nothing, or for a deleted version."""
    try:
        found = client.read(collection)
    except Refusal as refusal:
        if refusal.gone and create:
            return None, _newest_version(client, collection)
        if failures.is_missing(refusal) and not refusal.gone and create:
            return None, 0
        raise _explained(refusal, "read", collection) from None
    return found, int(found.revision.partition("@")[0])


def _newest_version(client: Client, collection: str) -> int:
    try:
        return client.newest_version(collection)
    except Refusal as refusal:
        raise _explained(refusal, "look at", collection) from None


def _write(client: Client, collection: str, data: Mapping[str, Any], version: int) -> int:
    made = KvV2(client.wire).create_or_update_secret(
        client.place.path(collection), data, cas=version, mount_point=client.place.mount
    )
    written = part(made, "data").get("version")
    return written if isinstance(written, int) else version + 1


def _explained(refusal: Refusal, doing: str, collection: str) -> ColibriError:
    if error := failures.of_server(refusal):
        return error
    if refusal.gone:
        return ColibriError(
            "secret_missing", f"the newest version of collection '{collection}' is deleted"
        )
    if failures.is_missing(refusal):
        return ColibriError("collection_not_found", f"no collection '{collection}'")
    if failures.is_denied(refusal):
        what = f"the operator's token may not {doing} collection '{collection}'"
        return ColibriError("source_forbidden", what, hint=_POLICY)
    if "too_large" in refusal.words:
        return ColibriError(
            "secret_value_unrepresentable",
            f"collection '{collection}' is more than the server takes in one request",
            hint="split it, or raise the limits of the server's listener"
            " (OpenBao: max_request_json_strings)",
        )
    what = f"the server would not let the operator {doing} collection '{collection}'"
    return ColibriError("source_forbidden", what, hint="check the login's --mount")


def _refuse_old_engine(client: Client) -> None:
    if client.place.version == 1:
        raise ColibriError(
            "usage",
            "KV version 1 has no check-and-set: two writers would lose each other's secrets",
            hint="write with the server's own tools, or move to KV version 2",
        )


def _length(value: object) -> int:
    text = value if isinstance(value, str) else json.dumps(value)
    return len(text.encode("utf-8", "surrogatepass"))
