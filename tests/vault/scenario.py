"""What colibri asks of a server, once each, with the answers scrubbed: played and recorded."""

from __future__ import annotations

from typing import Any

from tests.kit.vault import World

_HIDDEN = {
    "client_token", "accessor", "token", "secret_id", "secret_id_accessor", "role_id",
    "request_id", "entity_id", "id", "cluster_id", "cluster_name", "uuid", "running_sha256",
    "wrapped_accessor", "server_time_utc", "version_", "path", "mount_accessor",
}  # fmt: skip


def played(world: World) -> list[dict[str, Any]]:
    """Run the scenario; return each request's name, method, path, status and scrubbed answer."""
    told: list[dict[str, Any]] = []

    def ask(name: str, method: str, path: str, body: Any = None, **more: Any) -> Any:
        status, document = world.ask(method, path, body, **more)
        shown = path.replace(world.mount, "MOUNT")
        answer = _scrubbed(document, world.mount)
        told.append({"name": name, "method": method, "path": shown, "status": status,
                     "answer": answer})  # fmt: skip
        return document

    world.fill("acme", {"API_KEY": "first"})
    world.fill("gone", {"API_KEY": "old"})
    data, metadata = f"{world.mount}/data/tenants", f"{world.mount}/metadata/tenants"
    role_id, wrapped = world.approle()
    ask("health", "GET", "sys/health")
    ask("wrapping lookup", "POST", "sys/wrapping/lookup", {"token": wrapped})
    secret_id = ask("unwrap", "POST", "sys/wrapping/unwrap", token=wrapped)["data"]["secret_id"]
    ask("unwrap again", "POST", "sys/wrapping/unwrap", token=wrapped)
    login = {"role_id": role_id, "secret_id": secret_id}
    auth = ask("login", "POST", "auth/approle/login", login, token="")["auth"]
    mine = auth["client_token"]
    wrong = {"role_id": role_id, "secret_id": "wrong"}
    ask("login refused", "POST", "auth/approle/login", wrong, token="")
    ask("login nowhere", "POST", "auth/nowhere/login", wrong, token="")
    ask("lookup", "GET", "auth/token/lookup-self", token=mine)
    ask("renew", "POST", "auth/token/renew-self", {}, token=mine)
    ask("lookup of a dead token", "GET", "auth/token/lookup-self", token="s.dead")
    ask("mount", "GET", f"sys/internal/ui/mounts/{world.mount}", token=mine)
    ask("mount that is not there", "GET", "sys/internal/ui/mounts/nowhere", token=mine)
    ask("list", "LIST", metadata, token=mine)
    ask("list of an empty folder", "LIST", f"{world.mount}/metadata/empty")
    ask("all versions", "LIST", f"{world.mount}/detailed-metadata/tenants", token=mine)
    ask("metadata", "GET", f"{metadata}/acme", token=mine)
    ask("metadata of nothing", "GET", f"{metadata}/nothing", token=mine)
    ask("data by the orchestrator", "GET", f"{data}/acme", token=mine)

    def minted(policy: str, uses: int = 1) -> dict[str, Any]:
        return {"policies": [policy], "num_uses": uses, "ttl": "60s", "renewable": False,
                "no_default_policy": True, "no_parent": False, "display_name": "x"}  # fmt: skip

    create = "auth/token/create/colibri-tenant"
    token = ask("mint", "POST", create, minted("colibri-tenant-acme"), token=mine)
    tenant = token["auth"]["client_token"]
    ask("mint without a policy there", "POST", create, minted("colibri-tenant-none"), token=mine)
    ask("mint outside the role", "POST", create, minted("root"), token=mine)
    ask("data", "GET", f"{data}/acme", token=tenant)
    ask("data by a used token", "GET", f"{data}/acme", token=tenant)
    other = world.must("POST", create, minted("colibri-tenant-acme"), token=mine)
    ask("another's data", "GET", f"{data}/gone", token=other["auth"]["client_token"])
    world.newest("gone", "delete")
    ask("deleted data", "GET", f"{data}/gone")
    ask("deleted metadata", "GET", f"{metadata}/gone", token=mine)
    world.newest("gone", "destroy")
    ask("destroyed data", "GET", f"{data}/gone")
    ask("data of nothing", "GET", f"{data}/nothing")
    ask("data in no mount", "GET", "nowhere/data/tenants/acme")
    ask("version one's path", "GET", f"{world.mount}/tenants/acme")
    cas = {"data": {"A": "1"}, "options": {"cas": 7}}
    ask("write over another's", "POST", f"{data}/acme", cas)
    ask("write", "POST", f"{data}/acme", {"data": {"A": "1"}, "options": {"cas": 1}})
    ask("policy", "GET", "sys/policies/acl/colibri-tenant-acme", token=mine)
    ask("policy that is not there", "GET", "sys/policies/acl/colibri-tenant-none", token=mine)
    ask("role", "GET", "auth/token/roles/colibri-tenant", token=mine)
    ask("revoke", "POST", "auth/token/revoke-self", {}, token=mine)
    return told


def _scrubbed(found: Any, mount: str) -> Any:
    if isinstance(found, dict):
        return {
            name: "hidden" if name in _HIDDEN and value else _scrubbed(value, mount)
            for name, value in found.items()
        }
    if isinstance(found, list):
        return [_scrubbed(each, mount) for each in found]
    return found.replace(mount, "MOUNT") if isinstance(found, str) else found
