"""The paths of the double, each as OpenBao 2.6.2 answers it."""

from __future__ import annotations

import fnmatch
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.kit.vault import leasing
from tests.kit.vault.state import Answer, State, Token, Version

Found = tuple[int, Any]


@dataclass
class Request:
    """One request; certificate says that TLS proved the client."""

    state: State
    method: str
    path: str
    token: str
    body: dict[str, Any]
    certificate: bool

    def enter(self, path: str = "") -> Token:
        capability = {"GET": "read", "LIST": "list", "DELETE": "delete", "PATCH": "patch"}.get(
            self.method, "update"
        )
        return self.state.enter(self.token, path or self.path, capability)


def answered(asked: Request, now: Callable[[], str]) -> Found:  # noqa: PLR0911
    """Return status and document; raise Answer for a refusal."""
    path = asked.path
    if path.startswith("sys/leases/revoke-prefix/"):
        return _revoked(asked, path.removeprefix("sys/leases/revoke-prefix/"))
    if (leased := leasing.answered(asked)) is not None:
        return leased
    if path.startswith("auth/token/"):
        return _token(asked, path.removeprefix("auth/token/"))
    if path.startswith("auth/"):
        return _auth(asked)
    if path.startswith("sys/wrapping/"):
        return _wrapping(asked)
    if path.startswith("sys/policies/acl/"):
        return _policy(asked, path.removeprefix("sys/policies/acl/"))
    if path.startswith("sys/internal/ui/mounts/"):
        return _mount_facts(asked, path.removeprefix("sys/internal/ui/mounts/"))
    if path in {"sys/policies/acl", "sys/policies/acl/"}:
        asked.enter()
        return 200, whole({"keys": sorted([*asked.state.policies, "default", "root"])})
    if path.startswith(("sys/mounts/", "sys/auth/")):
        return _mounting(asked)
    for mount in sorted(asked.state.mounts, key=len, reverse=True):
        if path.startswith(f"{mount}/"):
            rest = path.removeprefix(f"{mount}/")
            if asked.state.mounts[mount] == 2:
                return _kv2(asked, mount, rest, now)
            return _kv1(asked, f"{mount}/{rest}")
    asked.enter()
    raise Answer(404, f'no handler for route "{path}". route entry not found.')


def whole(data: Any = None, **more: Any) -> dict[str, Any]:
    """Return the envelope every answer comes in."""
    return {
        "request_id": str(uuid.uuid4()), "lease_id": "", "renewable": False, "lease_duration": 0,
        "data": data, "wrap_info": None, "warnings": None, "auth": None, **more,
    }  # fmt: skip


def _granted(token: Token) -> dict[str, Any]:
    return {
        "client_token": token.id, "accessor": token.accessor, "policies": token.policies,
        "token_policies": token.policies, "metadata": None, "lease_duration": token.ttl,
        "renewable": token.renewable, "entity_id": "", "token_type": "service", "orphan": True,
        "num_uses": token.uses,
    }  # fmt: skip


def _token(asked: Request, rest: str) -> Found:  # noqa: PLR0911
    state = asked.state
    if rest.startswith("create/"):
        asked.enter()
        return 200, _minted(state, rest.removeprefix("create/"), asked.body)
    if rest == "create":
        asked.enter()
        return 200, whole(auth=_granted(state.new_token(list(asked.body.get("policies") or []))))
    if rest.startswith("roles/"):
        asked.enter()
        name = rest.removeprefix("roles/")
        if asked.method == "GET":
            if name not in state.roles:
                raise Answer(404)
            return 200, whole({"name": name, **state.roles[name]})
        if asked.method == "DELETE":
            state.roles.pop(name, None)
        else:
            state.roles[name] = state.roles.get(name, {}) | asked.body
        return 204, None
    mine = asked.enter()
    if rest == "lookup-self":
        return 200, whole({"ttl": mine.left(), "renewable": mine.renewable, "id": mine.id,
                           "policies": mine.policies, "num_uses": mine.uses})  # fmt: skip
    if rest == "renew-self":
        if not mine.renewable:
            raise Answer(400, "lease is not renewable")
        mine.born = time.monotonic()
        return 200, whole(auth=_granted(mine))
    if rest == "revoke-self":
        state.tokens.pop(mine.id, None)
        return 204, None
    raise Answer(404, "unsupported path")


def _minted(state: State, role_name: str, body: dict[str, Any]) -> dict[str, Any]:
    role = state.roles.get(role_name)
    if role is None:
        raise Answer(400, f"unknown role {role_name}")
    policies = list(body.get("policies") or [])
    globs = role.get("allowed_policies_glob") or []
    if not all(any(fnmatch.fnmatchcase(p, glob) for glob in globs) for p in policies):
        raise Answer(400, f"token policies ({policies!r}) must be subset of the role's allowed")
    ttl = min(int(str(body.get("ttl", "60s"))[:-1]), role.get("token_explicit_max_ttl") or 60)
    if period := role.get("token_period"):
        made = state.new_token(policies, ttl=period, renewable=True)
        return whole(auth=_granted(made))
    uses = [each for each in (body.get("num_uses"), role.get("token_num_uses")) if each]
    made = state.new_token(
        policies,
        ttl=ttl,
        uses=min(uses, default=0),
        renewable=False,
        path=f"auth/token/create/{role_name}",
    )
    missing = [f'Policy "{name}" does not exist' for name in policies if name not in state.policies]
    return whole(auth=_granted(made), warnings=missing or None)


def _auth(asked: Request) -> Found:
    state, parts = asked.state, asked.path.split("/")
    mount, rest = parts[1], "/".join(parts[2:])
    if mount not in state.auth:
        asked.enter()
        raise Answer(404, f'no handler for route "{asked.path}". route entry not found.')
    if rest == "login":
        return 200, whole(auth=_granted(_logged_in(asked, state.auth[mount], mount)))
    asked.enter()
    name, _, leaf = rest.removeprefix("role/").removeprefix("certs/").partition("/")
    if asked.method == "DELETE":
        state.auth_roles.pop(f"{mount}/{name}", None)
        return 204, None
    role = state.auth_roles.setdefault(f"{mount}/{name}", {"role_id": str(uuid.uuid4()), "ids": []})
    if leaf == "role-id":
        return 200, whole({"role_id": role["role_id"]})
    if leaf == "secret-id":
        secret = str(uuid.uuid4())
        role["ids"].append(secret)
        token = f"s.{secrets.token_urlsafe(18)}"
        state.wrapped[token] = (asked.path, {"secret_id": secret})
        info = {"token": token, "ttl": 60, "creation_path": asked.path}
        return 200, whole(wrap_info=info)
    role |= asked.body
    return 204, None


def _logged_in(asked: Request, kind: str, mount: str) -> Token:
    body, roles = asked.body, asked.state.auth_roles
    for name, role in roles.items():
        if not name.startswith(f"{mount}/"):
            continue
        short = name.partition("/")[2]
        right = {
            "approle": body.get("role_id") == role.get("role_id")
            and body.get("secret_id") in role.get("ids", []),
            "jwt": body.get("role") == short and body.get("jwt") == role.get("jwt"),
            "cert": asked.certificate,
        }[kind]
        if right:
            policies = list(role.get("token_policies") or [])
            ttl = _seconds(role.get("token_ttl") or 1200)
            return asked.state.new_token(policies, ttl=ttl, path=asked.path)
    raise Answer(400, "invalid role or secret ID" if kind == "approle" else "error validating")


def _seconds(text: Any) -> int:
    """Return 1200 for 1200, "1200" and "20m"."""
    whole_text = str(text)
    return int(whole_text[:-1]) * 60 if whole_text.endswith("m") else int(whole_text)


def _wrapping(asked: Request) -> Found:
    token = asked.body.get("token") or asked.token
    if token not in asked.state.wrapped:
        raise Answer(400, "wrapping token is not valid or does not exist")
    path, data = asked.state.wrapped[token]
    if asked.path.endswith("lookup"):
        return 200, whole({"creation_path": path, "creation_time": "", "creation_ttl": 60})
    del asked.state.wrapped[token]
    return 200, whole(data)


def _policy(asked: Request, name: str) -> Found:
    asked.enter()
    if asked.method == "GET":
        if name not in asked.state.policies:
            raise Answer(404)
        return 200, whole({"name": name, "policy": asked.state.policies[name]})
    if asked.method == "DELETE":
        asked.state.policies.pop(name, None)
    else:
        asked.state.policies[name] = asked.body["policy"]
    return 204, None


def _mount_facts(asked: Request, mount: str) -> Found:
    token = asked.state.tokens.get(asked.token)
    known = (
        any(f'"{mount}/' in asked.state.policies.get(p, "") for p in token.policies) if token else 0
    )
    if token is None or mount not in asked.state.mounts or not (known or "root" in token.policies):
        raise Answer(
            403,
            "preflight capability check returned 403, please ensure client's policies"
            f' grant access to path "{mount}/"',
        )
    options = {"version": "2"} if asked.state.mounts[mount] == 2 else None
    return 200, whole({"type": "kv", "options": options, "path": f"{mount}/"})


def _revoked(asked: Request, prefix: str) -> Found:
    asked.enter()
    tokens = asked.state.tokens
    for token in [each for each in tokens.values() if each.path.startswith(prefix)]:
        del tokens[token.id]
    for lease_id in [each for each in asked.state.leases if each.startswith(prefix)]:
        del asked.state.leases[lease_id]
    return 204, None


def _mounting(asked: Request) -> Found:
    asked.enter()
    kind, _, name = asked.path.removeprefix("sys/").partition("/")
    if kind == "auth":
        asked.state.auth[name] = asked.body["type"]
    else:
        version = (asked.body.get("options") or {}).get("version", "1")
        asked.state.mounts[name] = int(version)
    return 204, None


def _page(keys: list[str], asked: dict[str, Any]) -> list[str]:
    """Return a page of a list as OpenBao does; what follows the last is as missing as nothing."""
    rest = [key for key in keys if key > asked.get("after", "")]
    if not rest:
        raise Answer(404)
    return rest[: int(asked.get("limit", 0)) or None]


def _kv2(  # noqa: PLR0911
    asked: Request, mount: str, rest: str, now: Callable[[], str]
) -> Found:
    kind, _, name = rest.partition("/")
    key, stored = f"{mount}/{name}", asked.state.versions
    if asked.method == "LIST" and kind in {"metadata", "detailed-metadata"}:
        asked.enter()
        prefix = f"{mount}/{name.rstrip('/')}/"
        status, document = _names(stored, prefix)
        if kind == "detailed-metadata":
            document["data"]["keys"] = _page(document["data"]["keys"], asked.body)
            keys = [key for key in document["data"]["keys"] if not key.endswith("/")]
            document["data"]["key_info"] = {k: _kv2_metadata(stored[prefix + k]) for k in keys}
        return status, document
    asked.enter()
    if kind not in {"data", "metadata", "delete", "destroy", "undelete"}:
        warning = "Invalid path for a versioned K/V secrets engine. See the API docs."
        raise Answer(404, warnings=[warning], data=None)
    versions = stored.get(key, [])
    if kind == "data" and asked.method in {"POST", "PUT"}:
        return _kv2_write(asked, key, versions, now)
    if kind == "metadata" and asked.method == "DELETE":
        stored.pop(key, None)
        return 204, None
    if not versions:
        raise Answer(404)
    if kind == "metadata":
        return 200, whole(_kv2_metadata(versions))
    newest = versions[-1]
    if kind in {"delete", "destroy", "undelete"}:
        newest.deleted = now() if kind == "delete" else "" if kind == "undelete" else newest.deleted
        newest.destroyed = newest.destroyed or kind == "destroy"
        return 204, None
    facts = _facts(newest, len(versions))
    if newest.deleted or newest.destroyed:
        return 404, whole({"data": None, "metadata": facts})
    return 200, whole({"data": newest.data, "metadata": facts})


def _kv2_write(asked: Request, key: str, versions: list[Version], now: Callable[[], str]) -> Found:
    cas = (asked.body.get("options") or {}).get("cas")
    if cas is not None and cas != len(versions):
        raise Answer(400, "check-and-set parameter did not match the current version")
    asked.state.versions[key] = [*versions, Version(asked.body["data"], now())]
    made = asked.state.versions[key]
    return 200, whole(_facts(made[-1], len(made)))


def _facts(version: Version, number: int) -> dict[str, Any]:
    return {
        "created_time": version.created, "custom_metadata": None, "deletion_time": version.deleted,
        "destroyed": version.destroyed, "version": number,
    }  # fmt: skip


def _kv2_metadata(versions: list[Version]) -> dict[str, Any]:
    facts = {
        str(number): {
            "created_time": each.created, "deletion_time": each.deleted,
            "destroyed": each.destroyed,
        }
        for number, each in enumerate(versions, 1)
    }  # fmt: skip
    return {
        "cas_required": False, "created_time": versions[0].created,
        "current_metadata_version": 0, "current_version": len(versions), "custom_metadata": None,
        "delete_version_after": "0s", "max_versions": 0, "metadata_cas_required": False,
        "oldest_version": 0, "updated_time": versions[-1].created, "versions": facts,
    }  # fmt: skip


def _kv1(asked: Request, key: str) -> Found:
    asked.enter()
    stored = asked.state.versions
    if asked.method == "LIST":
        return _names(stored, f"{key.rstrip('/')}/")
    if asked.method in {"POST", "PUT"}:
        stored[key] = [Version(asked.body, "")]
        return 204, None
    if asked.method == "DELETE":
        stored.pop(key, None)
        return 204, None
    if key not in stored:
        raise Answer(404)
    return 200, whole(stored[key][-1].data, lease_duration=2764800)


def _names(stored: dict[str, Any], prefix: str) -> Found:
    below = {key.removeprefix(prefix) for key in stored if key.startswith(prefix)}
    keys = sorted({f"{k.partition('/')[0]}/" if "/" in k else k for k in below})
    if not keys:
        raise Answer(404)
    return 200, whole({"keys": keys})
