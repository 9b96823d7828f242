"""A World over a real server: an owner who fills it, and the service account that reads it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.kit.vaultwarden import crypto
from tests.kit.vaultwarden.account import Account
from tests.kit.vaultwarden.world import Access, Role, World
from tests.live.vaultwarden.api import Api

# The smallest that Vaultwarden takes at registration; its clients' default is six times as much.
PBKDF2 = crypto.Kdf(0, 100_000)


@dataclass
class _Granted:
    organization: str
    sealed_name: str
    access: Access


class Real(World):
    """Accounts of their own on the server at url: worlds on one server do not meet."""

    real = True

    def __init__(
        self,
        url: str,
        ca_file: Path,
        *,
        organization: str | None = "Acme",
        password: str = "correct horse battery staple",
        kdf: crypto.Kdf = PBKDF2,
    ) -> None:
        super().__init__()
        self.url, self.ca_file = url, ca_file
        mark = uuid.uuid4().hex[:12]
        self._owner_account = Account(f"owner-{mark}@colibri.example", "owner", PBKDF2)
        self.account = Account(f"svc-{mark}@colibri.example", password, kdf)
        self.owner, self.service = Api(url, ca_file), Api(url, ca_file)
        for api, account in ((self.owner, self._owner_account), (self.service, self.account)):
            api.register(account)
            api.log_in(account)
        self.user_id: str = self.service.get("/api/accounts/profile")["id"]
        self.client_secret = self._key("/api/accounts/api-key")
        self._member: dict[str, str] = {}
        self._granted: dict[str, _Granted] = {}
        if organization is not None:
            self.add_organization(organization)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections; the server is whoever started it's."""
        self.owner.close()
        self.service.close()

    def grant(self, collection: str, access: Access) -> None:
        """Change what the service account may do with a collection."""
        self._granted[collection].access = access
        self._put_collection(collection)

    def remove_collection(self, collection: str) -> None:
        """Delete a collection; its items stay in the organisation."""
        home = self._granted.pop(collection).organization
        self.owner.delete(f"/api/organizations/{home}/collections/{collection}")

    def set_role(self, role: Role, organization: str | None = None) -> None:
        """Change the service account's role; what was granted stays granted."""
        home = self._organization(organization).id
        granted = [
            {"id": each, **_rights(row.access)}
            for each, row in self._granted.items()
            if row.organization == home and row.access is not Access.NONE
        ]
        self.owner.put(
            f"/api/organizations/{home}/users/{self._member[home]}",
            {"type": int(role), "collections": granted, "groups": [], "permissions": {}},
        )

    def trash(self, item: str) -> None:
        """Move an item to the trash."""
        self._hand(item).put(f"/api/ciphers/{item}/delete")

    def restore(self, item: str) -> None:
        """Take an item out of the trash."""
        self._hand(item).put(f"/api/ciphers/{item}/restore")

    def delete(self, item: str) -> None:
        """Delete an item for good."""
        self._hand(item).delete(f"/api/ciphers/{item}")

    def move(self, item: str, where: Sequence[str]) -> None:
        """Put an item into exactly these collections."""
        self.owner.put(f"/api/ciphers/{item}/collections-admin", {"collectionIds": list(where)})

    def rotate_client_secret(self) -> None:
        """Replace the API key."""
        self.client_secret = self._key("/api/accounts/rotate-api-key")

    def change_password(self, password: str) -> None:
        """Change the master password; every token but the one that asks ends."""
        old = self.account.password_hash
        self.account.set_password(password)
        self.service.post(
            "/api/accounts/password",
            {
                "masterPasswordHash": old,
                "newMasterPasswordHash": self.account.password_hash,
                "key": self.account.akey,
            },
        )
        self.service.log_in(self.account)

    def _new_organization(self, name: str, key: bytes) -> str:
        owner, pair = self._owner_account, crypto.KeyPair()
        made: str = self.owner.post(
            "/api/organizations",
            {
                "name": name,
                "billingEmail": owner.email,
                "key": crypto.seal_for(key, owner.public_key),
                "collectionName": crypto.seal("the owner's own", key),
                "keys": {"publicKey": pair.public(), "encryptedPrivateKey": pair.wrapped(key)},
                "planType": 0,
            },
        )["id"]
        self._invite(made, key)
        return made

    def _invite(self, organization: str, key: bytes) -> None:
        users = f"/api/organizations/{organization}/users"
        asked = {"emails": [self.account.email], "groups": [], "collections": [], "permissions": {}}
        self.owner.post(f"{users}/invite", {**asked, "type": int(Role.USER)})
        rows = self.owner.get(users)["data"]
        member = next(row["id"] for row in rows if row["email"] == self.account.email)
        sealed = crypto.seal_for(key, self.account.public_key)
        self.owner.post(f"{users}/{member}/confirm", {"key": sealed})
        self._member[organization] = member

    def _new_collection(self, home: str, sealed_name: str, access: Access) -> str:
        made: str = self.owner.post(
            f"/api/organizations/{home}/collections", self._collection(home, sealed_name, access)
        )["id"]
        self._granted[made] = _Granted(home, sealed_name, access)
        return made

    def _name_collection(self, home: str, collection: str, sealed_name: str) -> None:
        self._granted[collection].sealed_name = sealed_name
        self._put_collection(collection)

    def _put_collection(self, collection: str) -> None:
        row = self._granted[collection]
        self.owner.put(
            f"/api/organizations/{row.organization}/collections/{collection}",
            self._collection(row.organization, row.sealed_name, row.access),
        )

    def _collection(self, home: str, sealed_name: str, access: Access) -> dict[str, Any]:
        member = {"id": self._member[home], **_rights(access)}
        users = [] if access is Access.NONE else [member]
        return {"name": sealed_name, "groups": [], "users": users, "externalId": None}

    def _new_cipher(
        self, home: str | None, request: dict[str, Any], collections: Sequence[str]
    ) -> str:
        if home is None:
            mine: str = self.service.post("/api/ciphers", request)["id"]
            return mine
        document = {"cipher": request, "collectionIds": list(collections)}
        made: str = self.owner.post("/api/ciphers/create", document)["id"]
        return made

    def _change_cipher(self, item: str, request: dict[str, Any]) -> None:
        self._hand(item).put(f"/api/ciphers/{item}", request)

    def _attach(self, item: str, meta: dict[str, str], sealed: bytes) -> str:
        api = self._hand(item)
        asked = {**meta, "fileSize": len(sealed)}
        made = api.post(f"/api/ciphers/{item}/attachment/v2", asked)
        api.upload(f"/api{made['url']}", sealed)
        attachment: str = made["attachmentId"]
        return attachment

    def _hand(self, item: str) -> Api:
        return self.service if self._placed[item].organization is None else self.owner

    def _key(self, path: str) -> str:
        asked = {"masterPasswordHash": self.account.password_hash}
        made: str = self.service.post(path, asked)["apiKey"]
        return made


def _rights(access: Access) -> dict[str, bool]:
    return {
        "readOnly": access in {Access.READ, Access.HIDDEN},
        "hidePasswords": access is Access.HIDDEN,
        "manage": False,
    }
