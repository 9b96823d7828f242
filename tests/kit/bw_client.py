"""Drives the real bw by hand, as bw.md measured it: for tests of the double and for baselines.

This is no product code: it checks nothing, so that a test sees what bw really says.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.kit.bw import Bw
from tests.kit.vaultwarden.world import World

_SECONDS = 90


@dataclass(frozen=True)
class Said:
    """What one bw process said."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        """Return stdout as a document."""
        return json.loads(self.out)


class Client:
    """One app-data directory and the bw that works in it."""

    def __init__(self, bw: Bw, world: World, home: Path) -> None:
        self.bw, self.world = bw, world
        self.data = home / "appdata"
        self.data.mkdir(mode=0o700)
        self.session = ""

    def run(self, *args: str, **env: str) -> Said:
        """Run one command with an environment from scratch and stdin closed."""
        done = subprocess.run(
            [*self.bw.argv, *args], env={**self._env(), **env}, stdin=subprocess.DEVNULL,
            capture_output=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
        return Said(done.returncode, done.stdout.decode(), done.stderr.decode())

    def config(self) -> Said:
        """Point the directory at the world."""
        return self.run("config", "server", self.world.url)

    def login(self) -> Said:
        """Log in by API key; the secret is in this one process's environment."""
        secret = {"BW_CLIENTID": self.world.client_id, "BW_CLIENTSECRET": self.world.client_secret}
        return self.run("login", "--apikey", "--raw", **secret)

    def unlock(self) -> Said:
        """Unlock with the password through a pipe, and keep the session key."""
        reader, writer = os.pipe()
        os.write(writer, self.world.password.encode() + b"\n")
        os.close(writer)
        try:
            done = subprocess.run(
                [*self.bw.argv, "unlock", "--raw", "--passwordfile", f"/dev/fd/{reader}"],
                env=self._env(), stdin=subprocess.DEVNULL, capture_output=True, pass_fds=(reader,),
                timeout=_SECONDS, check=False,
            )  # fmt: skip
        finally:
            os.close(reader)
        said = Said(done.returncode, done.stdout.decode(), done.stderr.decode())
        self.session = said.out if said.status == 0 else ""
        return said

    def ready(self) -> Client:
        """Config, login and unlock; a first unlock that fails on the key id is tried again."""
        for said in (self.config(), self.login()):
            assert said.status == 0, said.err
        said = self.unlock()
        if said.status and "KeyIdBackfillError" in said.err:
            said = self.unlock()
        assert said.status == 0, said.err
        return self

    def list(self, what: str, **filters: str) -> Said:
        """List something by the CLI."""
        options = [part for name, value in filters.items() for part in (f"--{name}", value)]
        return self.run("list", what, *options, BW_SESSION=self.session)

    @contextlib.contextmanager
    def serve(self) -> Iterator[Served]:
        """Yield `bw serve` on a socket pair that has no address; end it afterwards."""
        ours, theirs = socket.socketpair()
        process = subprocess.Popen(
            [*self.bw.argv, "serve", "--hostname", f"fd+connected://{theirs.fileno()}"],
            env=self._env(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, pass_fds=(theirs.fileno(),),
        )  # fmt: skip
        theirs.close()
        ours.settimeout(_SECONDS)
        try:
            yield Served(ours, process)
        finally:
            ours.close()
            process.kill()
            process.communicate()

    def _env(self) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin", "HOME": str(self.data), "LANG": "C.UTF-8",
            "BITWARDENCLI_APPDATA_DIR": str(self.data), "BW_NOINTERACTION": "true",
            "NODE_EXTRA_CA_CERTS": str(self.world.ca_file),
        }  # fmt: skip


class Served:
    """A running `bw serve`, asked over the one connection it has."""

    def __init__(self, ours: socket.socket, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._http = http.client.HTTPConnection("localhost", 8087)
        self._http.sock = ours

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return the status and the document of one request."""
        raw = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"} if raw else {}
        self._http.request(method, path, raw, headers)
        answer = self._http.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text.startswith(b"{") else text

    def unlock(self, password: str) -> tuple[int, Any]:
        """Unlock in the server's memory only."""
        return self.ask("POST", "/unlock", {"password": password})

    def list(self, what: str, query: str = "") -> list[Any]:
        """Return the objects of one list, or fail."""
        status, document = self.ask("GET", f"/list/object/{what}?{query}")
        assert status == 200, document
        found: list[Any] = document["data"]["data"]
        return found
