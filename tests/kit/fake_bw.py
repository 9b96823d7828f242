"""A `bw` that misbehaves on demand, for faults the real one cannot be made to show.

`FakeBw(home)` writes an executable that answers as bw.md section 4 recorded it. Its plan says at
which step it hangs, dies, floods or speaks; its log has each child's argv and environment.
"""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vault_svc.adapters.sources.vaultwarden import helper
from vault_svc.adapters.sources.vaultwarden.account import Account
from vault_svc.domain.secret import SecretValue

ORG, ACME, KEY, USER = (str(uuid.UUID(int=number, version=4)) for number in (1, 11, 21, 3))
DEVICE = str(uuid.UUID(int=4, version=4))
VERSION = "2026.8.77"
SERVER = "https://vault.example.org"
VALUE = "fake-value-0123456789"
PASSWORD = "fake-password-0123456789"
CLIENT_SECRET = "fake-client-secret-0123456789"
SESSION = "A" * 86 + "=="

_COLLECTION = {"organizationId": ORG, "name": "2.x", "readOnly": True, "manage": False}
_PROGRAM = """#!{python} -I
import json, os, signal, socket, subprocess, sys, time
plan = json.load(open({plan!r}))
line = {{"argv": sys.argv, "env": dict(os.environ), "pid": os.getpid()}}
with open({log!r}, "a") as log:
    log.write(json.dumps(line) + "\\n")

def step(name):
    logins = sum('"login"' in line for line in open({log!r}))
    deed = plan["deeds"].get(name, "") if logins <= plan["until"] else ""
    if deed in {{"hang", "stray"}}:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if deed == "hang":
        time.sleep(600)
    if deed == "stray":
        subprocess.Popen(["/bin/sleep", "600"])
        time.sleep(600)
    if deed == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if deed == "flood":
        while True:
            os.write(1, b"x" * 65536)
    if deed == "shout":
        while True:
            os.write(2, b"x" * 65536)
    if deed == "fail":
        sys.stderr.write(plan["said"])
        sys.exit(1)
    if deed == "silent":
        sys.exit(0)
    if deed == "noise":
        sys.stderr.write(plan["said"])
    return deed

DEEP = "[" * 100_000 + "]" * 100_000

def shown(text, deed):
    if deed == "deep":
        return DEEP
    return text[: len(text) // 2] if deed == "cut" else text

def state():
    return json.load(open(os.path.join(os.environ["BITWARDENCLI_APPDATA_DIR"], "data.json")))

def answer(kind):
    return plan["lists"][kind]

def serve(fd):
    step("serve")
    pair = socket.socket(fileno=fd)
    wire = pair.makefile("rwb")
    while True:
        head = wire.readline()
        if not head:
            time.sleep(600)
        method, path, _ = head.decode().split(" ")
        length = 0
        while (line := wire.readline()) != b"\\r\\n":
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        body = wire.read(length)
        name = "unlock" if path == "/unlock" else "list " + path.split("?")[0].split("/")[-1]
        deed = step(name)
        if name == "unlock":
            good = json.loads(body) == {{"password": plan["password"]}}
            document = {{"success": good}}
            if not good:
                document["message"] = "Cryptography error, The decryption operation failed"
        else:
            good = True
            document = {{"success": True, "data": {{"object": "list", "data": answer(name[5:])}}}}
        if deed == "bare":
            document = {{"success": True}}
        text = DEEP.encode() if deed == "deep" else json.dumps(document).encode()
        sent = shown(text.decode(), deed).encode()
        status = 200 if good else 400
        head = "HTTP/1.1 %d X\\r\\nContent-Length: %d\\r\\n\\r\\n" % (status, len(text))
        wire.write(head.encode() + sent)
        wire.flush()
        if deed == "cut":
            sys.exit(0)

if sys.argv[1] == "--version":
    print({version!r})
elif sys.argv[1] == "login":
    deed = step("login")
    found = state()
    user = os.environ["BW_CLIENTID"].removeprefix("user.")
    found["global_account_activeAccountId"] = user
    found["user_%s_environment_environment" % user] = found["global_environment_environment"]
    found.update({{"user_%s_%s" % (user, key): value for key, value in plan["synced"].items()}})
    with open(os.path.join(os.environ["BITWARDENCLI_APPDATA_DIR"], "data.json"), "w") as out:
        text = json.dumps(found)
        out.write(text[:-1] + ', "deep": ' + DEEP + "}}" if deed == "deep" else shown(text, deed))
    sys.stdout.write({session!r})
elif sys.argv[1] == "sync":
    step("sync")
    sys.stdout.write("Syncing complete.")
elif sys.argv[1] == "unlock":
    step("unlock")
    given = open(sys.argv[sys.argv.index("--passwordfile") + 1]).readline().rstrip("\\n")
    if given != plan["password"]:
        sys.stderr.write("Cryptography error, The decryption operation failed")
        sys.exit(1)
    sys.stdout.write({session!r})
elif sys.argv[1] == "list":
    deed = step("list " + sys.argv[2])
    sys.stdout.write(shown(json.dumps(answer(sys.argv[2])), deed))
elif sys.argv[1] == "serve":
    serve(int(sys.argv[sys.argv.index("--hostname") + 1].rpartition("/")[2]))
"""


class FakeBw:
    """The program, its plan and its log, in home."""

    def __init__(self, home: Path, version: str = VERSION) -> None:
        home.mkdir(mode=0o755, exist_ok=True)
        self.program = home / "fake-bw"
        self._plan, self._log = home / "fake-plan.json", home / "fake-log.jsonl"
        self.plan: dict[str, Any] = {
            "deeds": {},
            "until": 1_000_000,
            "said": "boom",
            "password": PASSWORD,
            "synced": {
                "sync_lastSync": "2026-11-21T03:24:00.000Z",
                "organizations_organizations": {ORG: {"id": ORG, "type": 2}},
                "collection_collections": {ACME: _COLLECTION},
                "ciphers_ciphers": {
                    KEY: {
                        "organizationId": ORG, "collectionIds": [ACME], "type": 1,
                        "name": "2.x", "login": {"password": "2.x"},
                    },
                },
            },
            "lists": {
                "organizations": [
                    {"object": "organization", "id": ORG, "name": "Acme", "status": 2,
                     "type": 2, "enabled": True},
                ],
                "collections": [
                    {"object": "collection", "id": ACME, "organizationId": ORG, "name": "acme"},
                ],
                "items": [
                    {"object": "item", "id": KEY, "organizationId": ORG, "name": "API_KEY",
                     "collectionIds": [ACME], "type": 1, "login": {"password": VALUE}},
                ],
            },
        }  # fmt: skip
        text = _PROGRAM.format(
            python=sys.executable, plan=str(self._plan), log=str(self._log),
            session=SESSION, version=version,
        )  # fmt: skip
        self.program.write_text(text)
        self.program.chmod(0o755)
        self.save()

    def save(self) -> None:
        """Make the plan what the next child reads."""
        self._plan.write_text(json.dumps(self.plan))

    def will(self, step: str, deed: str, said: str = "boom", *, sessions: int = 1_000_000) -> None:
        """Do deed at step, in so many sessions.

        hang, stray (hang beside a child), die, flood (stdout), shout (stderr), fail, silent,
        noise, cut (half an answer, or half a state), deep, bare (an answer without its data).
        """
        before = sum("login" in line["argv"] for line in self.log())
        self.plan["deeds"][step], self.plan["said"] = deed, said
        self.plan["until"] = before + sessions
        self.save()

    def fill(self, name: str, values: Mapping[str, str]) -> str:
        """Make a collection hold logins of these names and passwords; return its id."""
        synced, lists = self.plan["synced"], self.plan["lists"]
        rows = {row["name"]: row["id"] for row in lists["collections"]}
        collection = rows.get(name) or self._add_collection(name)
        mine = {row["id"] for row in lists["items"] if row["collectionIds"] == [collection]}
        lists["items"] = [row for row in lists["items"] if row["id"] not in mine]
        for item in mine:
            del synced["ciphers_ciphers"][item]
        for variable, value in values.items():
            item = str(uuid.uuid4())
            own = {"organizationId": ORG, "collectionIds": [collection], "type": 1}
            synced["ciphers_ciphers"][item] = own | {"name": "2.x", "login": {"password": "2.x"}}
            lists["items"].append(
                own | {"object": "item", "id": item, "name": variable, "login": {"password": value}}
            )
        self.save()
        return collection

    def _add_collection(self, name: str) -> str:
        made = str(uuid.uuid4())
        row = {"object": "collection", "id": made, "organizationId": ORG, "name": name}
        self.plan["lists"]["collections"].append(row)
        self.plan["synced"]["collection_collections"][made] = _COLLECTION
        return made

    def empty(self) -> FakeBw:
        """Start without any collection."""
        self.plan["synced"] |= {"collection_collections": {}, "ciphers_ciphers": {}}
        self.plan["lists"] |= {"collections": [], "items": []}
        self.save()
        return self

    def spoil(self, collection: str) -> None:
        """Leave a collection's first item out of the list, as bw does."""
        rows = self.plan["lists"]["items"]
        rows.remove(next(row for row in rows if row["collectionIds"] == [collection]))
        self.save()

    def log(self) -> list[dict[str, Any]]:
        """Return argv and environment of every child so far."""
        if not self._log.exists():
            return []
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def helper(self) -> helper.Helper:
        """Return it as a login would record it."""
        return helper.identify(str(self.program), "")

    def account(self) -> Account:
        """Return the account that it takes."""
        return Account(
            SERVER, ORG, "Acme", f"user.{USER}", DEVICE, SecretValue(CLIENT_SECRET),
            SecretValue(PASSWORD), "", self.helper(),
        )  # fmt: skip
