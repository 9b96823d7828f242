"""One way to fill a server, the double or a real one: the same hands, the same cryptography.

A `World` is a server with a service account that is an ordinary user of its organisations, and
the owner's hand that changes what is there. Whatever is encrypted is encrypted here; a server
behind it only stores.
"""

from __future__ import annotations

import abc
import enum
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from tests.kit.vaultwarden import items
from tests.kit.vaultwarden.account import Account
from tests.kit.vaultwarden.crypto import seal, seal_bytes
from tests.kit.vaultwarden.items import Field, Item


class Access(enum.Enum):
    """What the service account may do with a collection."""

    NONE = "none"
    READ = "read"
    HIDDEN = "hidden"
    WRITE = "write"


class Role(enum.IntEnum):
    """The service account's role in an organisation, in the API's numbers."""

    OWNER = 0
    ADMIN = 1
    USER = 2
    CUSTOM = 4


@dataclass
class Organization:
    """An organisation and its key, which the server never sees."""

    id: str
    name: str
    key: bytes


@dataclass
class _Placed:
    item: Item
    key: bytes
    vault_key: bytes
    organization: str | None


class World(abc.ABC):
    """A server and its content. Every method that makes something returns its id."""

    url: str
    ca_file: Path
    account: Account
    client_secret: str
    user_id: str
    real: bool

    def __init__(self) -> None:
        self.organizations: list[Organization] = []
        self._home_of: dict[str, str] = {}
        self._placed: dict[str, _Placed] = {}

    # What an operator needs to know.

    @property
    def client_id(self) -> str:
        """The API key's first half."""
        return f"user.{self.user_id}"

    @property
    def password(self) -> str:
        """The service account's master password."""
        return self.account.password

    @property
    def organization(self) -> Organization:
        """The first organisation: the one colibri is pointed at."""
        return self.organizations[0]

    @property
    def secrets(self) -> dict[str, str]:
        """The three that must reach no one but this server (the password not even this one)."""
        return {"client_secret": self.client_secret, "password": self.password}

    # Organisations and collections.

    def add_organization(self, name: str) -> str:
        """Make an organisation with a key of its own; the service account is a plain user of it."""
        key = os.urandom(64)
        made = Organization(self._new_organization(name, key), name, key)
        self.organizations.append(made)
        return made.id

    def add_collection(
        self, name: str, *, access: Access = Access.READ, organization: str | None = None
    ) -> str:
        """Make a collection; names need not be unique, and are any text."""
        home = self._organization(organization)
        made = self._new_collection(home.id, seal(name, home.key), access)
        self._home_of[made] = home.id
        return made

    def rename_collection(self, collection: str, name: str) -> None:
        """Give a collection another name."""
        home = self._organization(self._home_of[collection])
        self._name_collection(home.id, collection, seal(name, home.key))

    @abc.abstractmethod
    def grant(self, collection: str, access: Access) -> None:
        """Change what the service account may do with a collection."""

    @abc.abstractmethod
    def remove_collection(self, collection: str) -> None:
        """Delete a collection; its items stay in the organisation."""

    @abc.abstractmethod
    def set_role(self, role: Role, organization: str | None = None) -> None:
        """Change the service account's role; WRITE and above is more than colibri needs."""

    # Items.

    def add_login(
        self,
        where: str | Sequence[str],
        name: str,
        password: str,
        *,
        username: str = "",
        totp: str = "",
        uris: Sequence[str] = (),
        notes: str = "",
        fields: Sequence[Field] = (),
        own_key: bool = True,
    ) -> str:
        """Make a login in one collection or several."""
        parts = {"username": username, "password": password, "totp": totp}
        return self.add(where, Item(items.LOGIN, name, notes, parts, fields, uris, own_key))

    def add_note(
        self,
        where: str | Sequence[str],
        name: str,
        text: str,
        *,
        fields: Sequence[Field] = (),
        own_key: bool = True,
    ) -> str:
        """Make a secure note."""
        return self.add(where, Item(items.NOTE, name, text, {}, fields, own_key=own_key))

    def add_card(self, where: str | Sequence[str], name: str, number: str) -> str:
        """Make a payment card."""
        parts = {"number": number, "cardholderName": "A. Person", "code": "123"}
        return self.add(where, Item(items.CARD, name, parts=parts))

    def add_identity(self, where: str | Sequence[str], name: str, last_name: str) -> str:
        """Make an identity."""
        return self.add(where, Item(items.IDENTITY, name, parts={"lastName": last_name}))

    def add_ssh_key(self, where: str | Sequence[str], name: str, private_key: str) -> str:
        """Make an SSH key item; the server refuses one without all three parts."""
        parts = {"privateKey": private_key, "publicKey": "ssh-ed25519 AAAA", "keyFingerprint": "f"}
        return self.add(where, Item(items.SSH_KEY, name, parts=parts))

    def add_personal(self, name: str, password: str) -> str:
        """Make a login in the service account's own vault, outside every organisation."""
        return self._add(None, (), Item(items.LOGIN, name, parts={"password": password}))

    def add(self, where: str | Sequence[str], item: Item) -> str:
        """Make any item in collections of one organisation."""
        collections = (where,) if isinstance(where, str) else tuple(where)
        return self._add(self._home_of[collections[0]], collections, item)

    def change(self, item: str, **changes: Any) -> None:
        """Change an item: its fields (`name=`, `notes=`, ...) or its parts (`password=`, ...)."""
        placed = self._placed[item]
        own = {key: value for key, value in changes.items() if key in Item.__dataclass_fields__}
        parts: Mapping[str, str] = {
            **placed.item.parts,
            **{key: value for key, value in changes.items() if key not in own},
        }
        placed.item = replace(placed.item, **{"parts": parts, **own})
        request = items.encrypted(placed.item, placed.key, placed.vault_key)
        self._change_cipher(item, {**request, "organizationId": placed.organization})

    def attach(self, item: str, file_name: str, content: bytes) -> str:
        """Attach a file, encrypted under a key of its own."""
        key, placed = os.urandom(64), self._placed[item]
        meta = {"fileName": seal(file_name, placed.key), "key": seal(key, placed.key)}
        return self._attach(item, meta, seal_bytes(content, key))

    @abc.abstractmethod
    def trash(self, item: str) -> None:
        """Move an item to the trash; it keeps its collections."""

    @abc.abstractmethod
    def restore(self, item: str) -> None:
        """Take an item out of the trash."""

    @abc.abstractmethod
    def delete(self, item: str) -> None:
        """Delete an item for good."""

    @abc.abstractmethod
    def move(self, item: str, where: Sequence[str]) -> None:
        """Put an item into exactly these collections."""

    # The service account.

    @abc.abstractmethod
    def rotate_client_secret(self) -> None:
        """Replace the API key; the old one stops working at once."""

    @abc.abstractmethod
    def change_password(self, password: str) -> None:
        """Change the service account's master password; what it held open ends."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of what this world holds; a double stops."""

    def _organization(self, organization_id: str | None) -> Organization:
        if organization_id is None:
            return self.organization
        return next(each for each in self.organizations if each.id == organization_id)

    def _add(self, home: str | None, collections: Sequence[str], item: Item) -> str:
        vault_key = self._organization(home).key if home else self.account.user_key
        key = items.new_key(item, vault_key)
        request = {**items.encrypted(item, key, vault_key), "organizationId": home}
        made = self._new_cipher(home, request, collections)
        self._placed[made] = _Placed(item, key, vault_key, home)
        return made

    @abc.abstractmethod
    def _new_organization(self, name: str, key: bytes) -> str: ...

    @abc.abstractmethod
    def _new_collection(self, home: str, sealed_name: str, access: Access) -> str: ...

    @abc.abstractmethod
    def _name_collection(self, home: str, collection: str, sealed_name: str) -> None: ...

    @abc.abstractmethod
    def _new_cipher(
        self, home: str | None, request: dict[str, Any], collections: Sequence[str]
    ) -> str: ...

    @abc.abstractmethod
    def _change_cipher(self, item: str, request: dict[str, Any]) -> None: ...

    @abc.abstractmethod
    def _attach(self, item: str, meta: dict[str, str], sealed: bytes) -> str: ...


class NewWorld(Protocol):
    """Makes a world; what the fixture `new_world` yields."""

    def __call__(
        self,
        *,
        organization: str | None = "Acme",
        password: str = ...,
        kdf: str = "pbkdf2",
    ) -> World:
        """Return a world with one organisation (or none) and nothing in it."""
        ...
