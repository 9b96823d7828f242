"""Requests to one Vault or OpenBao server with one token, as hvac forms them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from hvac.api.auth_methods import Token
from hvac.api.secrets_engines import KvV1, KvV2
from hvac.api.system_backend import Health as HealthApi
from hvac.api.system_backend import Policies

from vault_svc.adapters.sources.vault import failures
from vault_svc.adapters.sources.vault.places import TOKEN_ROLE, Place, policy_of
from vault_svc.adapters.sources.vault.refusal import Refusal
from vault_svc.adapters.sources.vault.wire import Wire, incomplete, part
from vault_svc.errors import ColibriError

MINTED_SECONDS: Final = 60
PAGE: Final = 100
"""So many versions a request: the first tenants are read while the others' are listed."""
_HEALTH_CODES: Final = {
    "standby_ok": True, "active_code": 200, "standby_code": 200, "dr_secondary_code": 200,
    "performance_standby_code": 200, "sealed_code": 200, "uninit_code": 200,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Health:
    """What a server says of itself to anybody."""

    initialised: bool
    sealed: bool
    standby: bool
    version: str
    cluster_id: str


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A collection's newest data and its revision; data is secret and shows itself to nobody."""

    revision: str
    data: dict[str, Any]

    def __repr__(self) -> str:
        return f"Found({self.revision!r}, hidden)"


@dataclass(frozen=True, slots=True)
class Client:
    """One token at one server; what the server refuses is a `Refusal`, which a Session explains."""

    wire: Wire
    place: Place

    def with_token(self, token: str) -> Client:
        """Return a client of the same connections for another token."""
        return Client(self.wire.with_token(token), self.place)

    def health(self) -> Health:
        """Ask anybody's question; raise `server_mismatch` where no such server answers."""
        try:
            whole = HealthApi(self.wire.outside_namespaces())
            found = whole.read_health_status(method="GET", **_HEALTH_CODES)
        except Refusal as refusal:
            raise failures.of_server(refusal) or _no_vault() from None
        known = [found.get(name) for name in ("initialized", "sealed")]
        if not all(isinstance(each, bool) for each in known):
            raise _no_vault()
        return Health(
            initialised=bool(known[0]),
            sealed=bool(known[1]),
            standby=bool(found.get("standby")),
            version=str(found.get("version"))[:64],
            cluster_id=str(found.get("cluster_id") or "")[:64],
        )

    def kv_version(self) -> int:
        """Return which KV engine the mount has; raise `server_mismatch` for another engine.

        A mount that is not there, or that the token may do nothing in, is a Refusal.
        """
        found = _data(self.wire.get(f"/v1/sys/internal/ui/mounts/{self.place.mount}"))
        options = found.get("options") or {}
        if str(found.get("type")) not in {"kv", "generic"} or not isinstance(options, dict):
            raise ColibriError(
                "server_mismatch", f"the mount '{self.place.mount}' is no KV engine", hint="--mount"
            )
        return 2 if options.get("version") == "2" else 1

    # Collections, by the orchestrator's token

    def names(self) -> list[str]:
        """Return what the folder lists, folders in it included (they end in a slash)."""
        kv = KvV2(self.wire) if self.place.version == 2 else KvV1(self.wire)  # noqa: PLR2004
        try:
            with _doing("list the collections"):
                found = kv.list_secrets(self.place.folder, mount_point=self.place.mount)
        except Refusal as refusal:
            if failures.is_missing(refusal):
                return []
            raise
        keys = _data(found).get("keys")
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise incomplete("the list of collections is no list")
        return keys

    def revision(self, name: str) -> str:
        """Return a collection's revision by its metadata alone; "" if only a read can tell.

        A collection that is not there is a Refusal of status 404.
        """
        with _doing("look at a collection's version"):
            data = self._metadata(name)
        return _newest(data)

    def revisions(self, after: str = "") -> tuple[dict[str, str], str]:
        """Return the next collections' revisions by one request, each as `revision` would.

        With the name of the last one, "" where no more follow. OpenBao alone can: another
        server's answer is a Refusal.
        """
        path = f"/v1/{self.place.mount}/detailed-metadata/{self.place.folder}"
        asked: dict[str, Any] = {"limit": PAGE} | ({"after": after} if after else {})
        try:
            with _doing("look at all collections' versions"):
                data = _data(self.wire.list(path, params=asked))
        except Refusal as refusal:
            if after and failures.is_missing(refusal):
                return {}, ""
            raise
        found, keys = data.get("key_info"), data.get("keys")
        if not isinstance(found, dict) or not isinstance(keys, list):
            raise incomplete("the list of versions is no list")
        known = {name: _newest(each) for name, each in found.items() if isinstance(each, dict)}
        # More than asked for: a server that knows no pages, and told all.
        return known, _asked_for(keys[-1]) if len(keys) == PAGE else ""

    def newest_version(self, name: str) -> int:
        """Return the number of a collection's newest version, deleted or not."""
        version = self._metadata(name).get("current_version")
        if not isinstance(version, int):
            raise incomplete("a collection's version is no number")
        return version

    def _metadata(self, name: str) -> dict[str, Any]:
        kv = KvV2(self.wire)
        return _data(kv.read_secret_metadata(self.place.path(name), mount_point=self.place.mount))

    def mint(self, name: str, *, uses: int = 1) -> str:
        """Return a token that can read this collection alone, exactly uses times (decision 19)."""
        policy = policy_of(name)
        with _doing("mint a tenant's token"):
            made = Token(self.wire).create(
                role_name=TOKEN_ROLE,
                policies=[policy],
                num_uses=uses,
                ttl=f"{MINTED_SECONDS}s",
                renewable=False,
                no_default_policy=True,
                display_name=name,
            )
        auth = part(made, "auth")
        if auth.get("policies") != [policy] or auth.get("num_uses") != uses:
            raise ColibriError(
                "source_forbidden",
                f"the token role '{TOKEN_ROLE}' makes other tokens than were asked for",
                hint="colibri source policies vault --check",
            )
        return self.wire.get_login_token(made)

    def has_policy(self, name: str) -> bool:
        """Say whether the server has a collection's policy."""
        try:
            with _doing("look at a collection's policy"):
                Policies(self.wire).read_acl_policy(policy_of(name))
        except Refusal as refusal:
            if failures.is_missing(refusal):
                return False
            raise
        return True

    def drop_policy(self, name: str) -> bool:
        """Delete a collection's policy; return whether there was one."""
        if not self.has_policy(name):
            return False
        with _doing("delete a collection's policy"):
            Policies(self.wire).delete_acl_policy(policy_of(name))
        return True

    # A collection, by a token that may read it

    def read(self, name: str) -> Found:
        """Return a collection's newest data; raise Refusal for what the server refuses."""
        path, mount = self.place.path(name), self.place.mount
        if self.place.version == 1:
            found = KvV1(self.wire).read_secret(path, mount_point=mount)
            return Found("", _data(found))
        found = KvV2(self.wire).read_secret_version(
            path, mount_point=mount, raise_on_deleted_version=True
        )
        outer = _data(found)
        data, metadata = outer.get("data"), outer.get("metadata")
        if not isinstance(data, dict) or not isinstance(metadata, dict):
            raise ColibriError(
                "server_mismatch",
                f"the mount '{mount}' does not answer as KV version 2",
                hint="colibri source login vault again: it finds out which version it is",
            )
        return Found(_revision(metadata.get("version"), metadata.get("created_time")), data)

    # The token itself

    def lookup(self) -> dict[str, Any]:
        """Return what the server says of this token; raise Refusal for one that is none."""
        return _data(Token(self.wire).lookup_self())

    def renew(self) -> None:
        """Renew this token; raise Refusal where it can't be."""
        Token(self.wire).renew_self()

    def revoke(self) -> None:
        """End this token and what it made; raise Refusal."""
        Token(self.wire).revoke_self()


@contextmanager
def _doing(what: str) -> Iterator[None]:
    """Say in a refusal what the orchestrator was doing."""
    try:
        yield
    except Refusal as refusal:
        refusal.doing = what
        raise


def _data(found: dict[str, Any]) -> dict[str, Any]:
    data = found.get("data")
    if not isinstance(data, dict):
        raise incomplete("the server's answer has no data in it")
    return data


def _asked_for(name: object) -> str:
    """Return a name that can be asked for again, "" for what can't."""
    return name if isinstance(name, str) and name.isprintable() else ""


def _newest(metadata: dict[str, Any]) -> str:
    """Return the newest version's revision, "" if it is deleted or only a read can tell."""
    version, versions = metadata.get("current_version"), metadata.get("versions")
    newest = versions.get(str(version)) if isinstance(versions, dict) else None
    if not isinstance(newest, dict) or newest.get("destroyed") or newest.get("deletion_time"):
        return ""
    return _revision(version, newest.get("created_time"))


def _revision(version: object, created: object) -> str:
    """Return version and time of birth: a collection that was made anew counts from 1 again."""
    if type(version) is not int or not isinstance(created, str) or not created:
        raise incomplete("a collection's version is no number, or has no time")
    return f"{version}@{created[:40]}"


def _no_vault() -> ColibriError:
    return ColibriError(
        "server_mismatch", "neither Vault nor OpenBao answers there", hint="check --server"
    )
