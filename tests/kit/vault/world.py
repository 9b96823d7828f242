"""The operator's hand at a server, the double or a real one: by its API and the root token."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vault_svc.adapters.sources.vault import policies
from vault_svc.adapters.sources.vault.places import Place


@dataclass
class World:
    """One mount of one server, and who may do what there."""

    url: str
    root: str
    ca_file: Path | None = None
    mount: str = "secret"
    version: int = 2
    server: Any = None

    @property
    def place(self) -> Place:
        return Place(self.mount, "tenants", self.version)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        wrap: str = "",
    ) -> tuple[int, Any]:
        """Return status and document of one request."""
        context = ssl.create_default_context(cafile=self.ca_file) if self.ca_file else None
        headers = {"X-Vault-Token": self.root if token is None else token}
        headers |= {"X-Vault-Wrap-TTL": wrap} if wrap else {}
        headers |= {"Content-Type": "application/merge-patch+json"} if method == "PATCH" else {}
        data = None if body is None else json.dumps(body).encode()
        asked = urllib.request.Request(f"{self.url}/v1/{path}", data, headers, method=method)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            with opener.open(asked, timeout=30) as answer:
                raw, status = answer.read(), answer.status
        except urllib.error.HTTPError as error:
            raw, status = error.read(), error.code
        return status, json.loads(raw) if raw.strip() else None

    def must(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        status, document = self.ask(method, path, body, **more)
        assert status < 300, f"{method} {path}: {status} {document}"
        return document

    def prepared(self) -> World:
        """Mount the KV engine and the logins, install the orchestrator's policy and the role."""
        self.must(
            "POST",
            f"sys/mounts/{self.mount}",
            {"type": "kv", "options": {"version": str(self.version)}},
        )
        status, _ = self.ask("POST", "sys/auth/approle", {"type": "approle"})
        assert status in {204, 400}  # 400: there already
        self.install()
        self.must(
            "POST",
            "auth/approle/role/colibri",
            {"token_policies": ["colibri-orchestrator"], "token_no_default_policy": True,
             "token_ttl": 1200},
        )  # fmt: skip
        return self

    def install(self, *names: str) -> None:
        """Install the documents as an operator would from --print."""
        for each in policies.rendered(self.place, names):
            if each.kind == policies.ROLE:
                self.must("POST", f"auth/token/roles/{each.name}", json.loads(each.text))
            elif each.kind == policies.POLICY:
                self.must("PUT", f"sys/policies/acl/{each.name}", {"policy": each.text})

    def put(self, name: str, data: Mapping[str, Any]) -> None:
        """Write a collection's newest version."""
        if self.version == 1:
            self.must("POST", f"{self.mount}/tenants/{name}", dict(data))
        else:
            self.must("POST", f"{self.mount}/data/tenants/{name}", {"data": dict(data)})

    def fill(self, name: str, data: Mapping[str, Any]) -> None:
        """Write a collection and let its tenant's token read it."""
        self.put(name, data)
        self.install(name)

    def newest(self, name: str, action: str) -> None:
        """`delete`, `destroy` or `undelete` the newest version."""
        document = self.must("GET", f"{self.mount}/metadata/tenants/{name}")
        number = document["data"]["current_version"]
        self.must("POST", f"{self.mount}/{action}/tenants/{name}", {"versions": [number]})

    def forget(self, name: str) -> None:
        """Remove a collection with all its versions."""
        self.must("DELETE", f"{self.mount}/metadata/tenants/{name}")

    def approle(self) -> tuple[str, str]:
        """Return the role id and a new wrapped secret id."""
        role = self.must("GET", "auth/approle/role/colibri/role-id")["data"]["role_id"]
        made = self.must("POST", "auth/approle/role/colibri/secret-id", {}, wrap="60s")
        return role, made["wrap_info"]["token"]

    def secret_id(self) -> str:
        """Return a new secret id, unwrapped."""
        token = self.approle()[1]
        found = self.must("POST", "sys/wrapping/unwrap", {"token": token})
        return found["data"]["secret_id"]
