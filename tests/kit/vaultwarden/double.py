"""The double itself: a World whose server is here, can be asked what it saw, and can go wrong."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from tests.kit.vaultwarden import crypto, routes, store
from tests.kit.vaultwarden.account import Account
from tests.kit.vaultwarden.certs import LOOPBACK, Authority
from tests.kit.vaultwarden.faults import Answer, Edit, Faults
from tests.kit.vaultwarden.items import PART
from tests.kit.vaultwarden.log import Entry, RequestLog
from tests.kit.vaultwarden.server import Request, Server
from tests.kit.vaultwarden.world import Access, Role, World

# Every character that a shell, a form, JSON or a terminal would treat its own way.
AWKWARD_PASSWORD = " pä$$wörd'\"`\\%41+&=#{}<>|;!?*~\t\u00a0\U0001f600 "


class Double(World):
    """A server in this process. home holds its certificates; use it as a context manager.

    seed decides every id: two doubles that must differ (a wrong server) get two seeds.
    key_id_endpoint: whether it knows the 2026.9 key-id route, as Vaultwarden does not.
    """

    real = False

    def __init__(
        self,
        home: Path,
        *,
        organization: str | None = "Acme",
        password: str = "correct horse battery staple",
        kdf: crypto.Kdf = crypto.PBKDF2,
        seed: str = "double",
        key_id_endpoint: bool = False,
        tls: bool = True,
    ) -> None:
        super().__init__()
        self.account = Account(f"svc@{seed}.example", password, kdf)
        self.store = store.Store(seed)
        self.user_id = self.store.new_id("user")
        self.client_secret = secrets.token_urlsafe(24)
        self.signing_key = os.urandom(32)
        self.key_id_endpoint = key_id_endpoint
        self.faults, self.log = Faults(), RequestLog()
        self._watch_own()
        self._authority = Authority(home, f"ca-{seed}")
        self.ca_file = self._authority.file
        self._certificate = self._authority.issue(seed) if tls else None
        self._server: Server | None = Server(self._handle, self._certificate)
        self.port = self._server.port
        self.url = f"{'https' if tls else 'http'}://{LOOPBACK}:{self.port}"
        if organization is not None:
            self.add_organization(organization)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop; the port refuses connections from now on."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def reopen(self) -> None:
        """Serve again at the same address, with everything as it was."""
        assert self._server is None
        self._server = Server(self._handle, self._certificate, self.port)

    # Faults that are no answer's: the certificate, the clock, the rows themselves.

    def show_certificate(self, wrong: str) -> None:
        """Show a certificate that is "unknown" (of another CA), "host" (another's) or "expired"."""
        authority, home = self._authority, self._authority.home
        made = {
            "unknown": lambda: Authority(home, f"stranger-{self.port}").issue("stranger"),
            "host": lambda: authority.issue("other-host", host="elsewhere.example"),
            "expired": lambda: authority.issue("expired", days=-1),
        }[wrong]()
        assert self._server is not None
        self._server.show(made)

    def set_clock(self, seconds: float) -> None:
        """Put the server's clock this far from ours."""
        with self.store.lock:
            self.store.clock_offset = seconds

    def new_stamp(self) -> None:
        """End every token given out, as a password change or "deauthorize sessions" does."""
        with self.store.lock:
            self.store.stamp = self.store.new_id("stamp")

    def swap_organization_key(self, organization: str | None = None) -> None:
        """Hand out another key for an organisation than the one its content is sealed with."""
        home = self._organization(organization)
        with self.store.lock:
            row = self.store.memberships[home.id]
            row.key = crypto.seal_for(os.urandom(64), self.account.public_key)

    def corrupt(self, item: str, part: str) -> None:
        """Spoil the MAC of a part: name, notes, key, field (the first), or one of its type's."""
        with self.store.lock:
            request = self.store.ciphers[item].request
            at: Any = request
            if part == "field":
                at, part = request["fields"][0], "value"
            elif part not in request:
                at = request[PART[request["type"]]]
            assert at[part], part
            at[part] = crypto.spoiled(at[part])
            self.store.touch()

    def corrupt_collection(self, collection: str) -> None:
        """Spoil the MAC of a collection's name."""
        with self.store.lock:
            row = self.store.collections[collection]
            row.name = crypto.spoiled(row.name)
            self.store.touch()

    def edit_sync(self, edit: Any, *, after: int = 0) -> None:
        """Hand out a sync document with something wrong in it."""
        self.faults.at("sync", Edit(edit), after=after)

    def disable_organization(self, organization: str | None = None) -> None:
        """Disable an organisation, as an unpaid or suspended one is."""
        with self.store.lock:
            self.store.memberships[self._organization(organization).id].enabled = False
            self.store.touch()

    def leave(self, organization: str | None = None) -> None:
        """Take the service account out of an organisation."""
        with self.store.lock:
            del self.store.memberships[self._organization(organization).id]
            self.store.touch()

    # World, in memory.

    def grant(self, collection: str, access: Access) -> None:
        """Change what the service account may do with a collection."""
        with self.store.lock:
            self.store.collections[collection].access = access
            self.store.touch()

    def remove_collection(self, collection: str) -> None:
        """Delete a collection; its items stay in the organisation."""
        with self.store.lock:
            del self.store.collections[collection]
            for row in self.store.ciphers.values():
                if collection in row.collections:
                    row.collections.remove(collection)
            self.store.touch()

    def set_role(self, role: Role, organization: str | None = None) -> None:
        """Change the service account's role."""
        with self.store.lock:
            self.store.memberships[self._organization(organization).id].role = role
            self.store.touch()

    def trash(self, item: str) -> None:
        """Move an item to the trash."""
        with self.store.lock:
            self.store.ciphers[item].deleted = self.store.touch()

    def restore(self, item: str) -> None:
        """Take an item out of the trash."""
        with self.store.lock:
            self.store.ciphers[item].deleted = None
            self.store.touch()

    def delete(self, item: str) -> None:
        """Delete an item for good."""
        with self.store.lock:
            del self.store.ciphers[item]
            self.store.touch()

    def move(self, item: str, where: Sequence[str]) -> None:
        """Put an item into exactly these collections."""
        with self.store.lock:
            self.store.ciphers[item].collections = list(where)
            self.store.touch()

    def rotate_client_secret(self) -> None:
        """Replace the API key; tokens that were given out stay good, as with the real one."""
        self.client_secret = secrets.token_urlsafe(24)
        self._watch_own()

    def change_password(self, password: str) -> None:
        """Change the master password; tokens end."""
        with self.store.lock:
            self.account.set_password(password)
            self.new_stamp()
        self._watch_own()

    def _new_organization(self, name: str, key: bytes) -> str:
        sealed = crypto.seal_for(key, self.account.public_key)
        with self.store.lock:
            made, member = self.store.new_id("organization"), self.store.new_id("member")
            self.store.memberships[made] = store.Membership(made, name, sealed, member)
            self.store.touch()
        return made

    def _new_collection(self, home: str, sealed_name: str, access: Access) -> str:
        with self.store.lock:
            made = self.store.new_id("collection")
            self.store.collections[made] = store.Collection(made, home, sealed_name, access)
            self.store.touch()
        return made

    def _name_collection(self, home: str, collection: str, sealed_name: str) -> None:
        with self.store.lock:
            self.store.collections[collection].name = sealed_name
            self.store.touch()

    def _new_cipher(
        self, home: str | None, request: dict[str, Any], collections: Sequence[str]
    ) -> str:
        with self.store.lock:
            made, at = self.store.new_id("cipher"), self.store.touch()
            self.store.ciphers[made] = store.Cipher(made, request, list(collections), at, at)
        return made

    def _change_cipher(self, item: str, request: dict[str, Any]) -> None:
        with self.store.lock:
            row = self.store.ciphers[item]
            row.request, row.revised = request, self.store.touch()

    def _attach(self, item: str, meta: dict[str, str], sealed: bytes) -> str:
        with self.store.lock:
            made = self.store.new_id("attachment").replace("-", "")[:20]
            row = self.store.ciphers[item]
            row.attachments.append({"id": made, "size": len(sealed), **meta})
            row.revised = self.store.touch()
        return made

    def _watch_own(self) -> None:
        for name, secret in self.secrets.items():
            self.log.watch(name, secret)

    def _handle(self, request: Request) -> Answer:
        step = routes.step_of(request.path)
        due = self.faults.due(step)
        answer = next((made for fault in due if (made := fault.instead())), None)
        if answer is None:
            answer = routes.answer(self, request)
        for fault in due:
            if answer.status == 200:
                answer = fault.change(answer)
        self._note(step, request, answer.status)
        return answer

    def _note(self, step: str, request: Request, status: int) -> None:
        form = request.body.decode("utf-8", "replace") if step == "token" else ""
        fields = dict(each.partition("=")[::2] for each in form.split("&"))
        agent = request.headers.get("Bitwarden-Client-Version", "")
        self.log.add(
            Entry(
                step, request.method, request.path, status,
                fields.get("deviceIdentifier", ""), agent, self.log.seen_in(request.raw()),
            )
        )  # fmt: skip
