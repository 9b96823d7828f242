"""One filling for two servers, and what a service account's client would ask of each."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from tests.kit.vaultwarden import Access, Field, Role, World
from tests.live.vaultwarden.api import Api


@dataclass
class Filled:
    """A filled world, and the ids of what is in it by our names."""

    world: World
    items: dict[str, str]
    collections: dict[str, str]

    def view(self, api: Api) -> dict[str, Any]:
        """Return a sync with items and collections by our names; nothing else may be there."""
        document: dict[str, Any] = api.get("/api/sync?excludeDomains=true")
        names = {made: name for name, made in self.collections.items()}
        items = {each["id"]: each for each in document.pop("ciphers")}
        rows = {each["id"]: each for each in document.pop("collections")}
        for item in items.values():
            item["collectionIds"] = sorted(names[each] for each in item["collectionIds"])
        return {
            "items": {name: items.pop(made, None) for name, made in self.items.items()},
            "collections": {name: rows.pop(made, None) for name, made in self.collections.items()},
            "more items": len(items),
            "more collections": len(rows),
            **document,
        }


def fill(world: World) -> Filled:
    """Put in every kind of item, in every kind of collection, and change some."""
    kinds = {"read": Access.READ, "hidden": Access.HIDDEN, "write": Access.WRITE}
    at = {name: world.add_collection(name, access=access) for name, access in kinds.items()}
    at["renamed"] = world.add_collection("old name")
    world.rename_collection(at["renamed"], "ü")
    none = world.add_collection("none", access=Access.NONE)
    read, hidden, write = at["read"], at["hidden"], at["write"]
    fields = [Field("hidden", "h"), Field("text", "t", hidden=False)]
    made = {
        "login": world.add_login(
            read, "A", "v", username="u", totp="t", uris=["https://a.example"], notes="n",
            fields=fields,
        ),
        "note": world.add_note(read, "N", "A=1"),
        "trashed": world.add_note(read, "T", "A=1"),
        "card": world.add_card(read, "C", "4"),
        "identity": world.add_identity(read, "I", "P"),
        "ssh key": world.add_ssh_key(read, "S", "p"),
        "personal": world.add_personal("M", "o"),
        "hidden": world.add_login(hidden, "H", "h", own_key=False),
        "hidden and read": world.add_login([hidden, read], "W", "h", own_key=False),
        "hidden and write": world.add_login([write, hidden], "Y", "h"),
        "half seen": world.add_login([none, read], "X", "h"),
        "not seen": world.add_login(none, "Z", "h"),
        "empty": world.add_login(write, "E", ""),
    }  # fmt: skip
    world.attach(made["login"], "f.txt", b"x" * 2000)
    world.change(made["login"], password="v2")
    world.move(made["login"], [read, at["renamed"]])
    for item in ("note", "trashed"):
        world.trash(made[item])
    world.restore(made["note"])
    return Filled(world, made, at)


def seen(filled: Filled) -> dict[str, Any]:
    """Return everything that a client of the service account reads."""
    world, api = filled.world, Api(filled.world.url, filled.world.ca_file)
    token = api.log_in_by_key(world.client_id, world.client_secret)
    claims = token["access_token"].split(".")[1]
    listed = api.get("/api/collections")
    listed["data"] = sorted(
        listed["data"], key=lambda row: list(filled.collections.values()).index(row["id"])
    )
    email = json.dumps({"email": world.account.email}).encode()
    prelogin = ("POST", "/identity/accounts/prelogin/password", email)
    return {
        "token": token,
        "claims": json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4))),
        "sync": filled.view(api),
        "config": api.get("/api/config"),
        "collections": listed,
        "profile": api.get("/api/accounts/profile"),
        "revision": type(api.get("/api/accounts/revision-date")).__name__,
        "alive": type(api.get("/alive")).__name__,
        "version": api.get("/api/version"),
        "prelogin": api.ask(*prelogin, {"Content-Type": "application/json"}),
    }


def roles(filled: Filled) -> dict[str, Any]:
    """Return what the service account sees in each role, and after things are taken away."""
    world, api = filled.world, Api(filled.world.url, filled.world.ca_file)
    api.log_in_by_key(world.client_id, world.client_secret)
    every = f"/api/organizations/{world.organization.id}/collections"
    found: dict[str, Any] = {}
    for role in (Role.OWNER, Role.ADMIN, Role.CUSTOM, Role.USER):
        world.set_role(role)
        document = api.get("/api/sync")
        rows = {each["id"]: each for each in document["collections"]}
        found[role.name] = {
            "organization": document["profile"]["organizations"],
            "collections": {name: rows.get(made) for name, made in filled.collections.items()},
            "items": _rights(filled, document),
            "every collection": api.ask("GET", every)[0],
        }
    world.remove_collection(filled.collections["renamed"])
    world.grant(filled.collections["hidden"], Access.NONE)
    world.delete(filled.items["card"])
    found["after"] = _rights(filled, api.get("/api/sync"))
    return found


def _rights(filled: Filled, document: dict[str, Any]) -> dict[str, Any]:
    rows = {each["id"]: each for each in document["ciphers"]}
    return {
        name: (rows[made]["edit"], rows[made]["viewPassword"], len(rows[made]["collectionIds"]))
        for name, made in filled.items.items()
        if made in rows
    }
