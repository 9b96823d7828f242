"""A real OpenBao or Vault on loopback: TLS, file storage, one unseal key."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.kit.vault.world import World
from tests.kit.vaultwarden.certs import LOOPBACK, Authority

_START_SECONDS = 60
# Five thousand variables are more strings than OpenBao takes in one request by default.
_CONFIG = """\
storage "file" {{ path = "{home}/data" }}
listener "tcp" {{
  address = "{host}:{port}"
  tls_cert_file = "{certificate}"
  tls_key_file = "{key}"
  {limits}
}}
api_addr = "https://{host}:{port}"
disable_mlock = true
{more}
"""
# OpenBao takes audit devices from its configuration alone.
_AUDIT = 'audit "file" "to-disk" {{ options {{ file_path = "{}" }} }}'


class Server:
    """Runs the binary until closed; home is empty and private."""

    def __init__(
        self, binary: str, home: Path, *, initialise: bool = True, audit: Path | None = None
    ) -> None:
        self.authority = Authority(home)
        certificate, key = self.authority.issue("server")
        self.port = free_port()
        self.binary = binary
        self.home = home
        self.url = f"https://{LOOPBACK}:{self.port}"
        (home / "data").mkdir(mode=0o700)
        openbao = "OpenBao" in version(binary)
        self._config = home / "server.hcl"
        self._config.write_text(
            _CONFIG.format(
                home=home, host=LOOPBACK, port=self.port, certificate=certificate, key=key,
                limits="max_request_json_strings = 100000" if openbao else "",
                more=_AUDIT.format(audit) if audit and openbao else "",
            )
        )  # fmt: skip
        self._log = (home / "server.log").open("ab")
        self.start()
        try:
            self.world = World(self.url, "", self.authority.file)
            if not initialise:
                return
            made = self.world.must("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
            self.key = made["keys_base64"][0]
            self.world.root = made["root_token"]
            self.unseal()
        except BaseException:
            self.close()
            raise

    @classmethod
    def uninitialised(cls, binary: str, home: Path) -> Self:
        """Start one that has no keys yet."""
        return cls(binary, home, initialise=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def start(self) -> None:
        """Start the process; it is sealed."""
        self._process = subprocess.Popen(
            [self.binary, "server", f"-config={self._config}"],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT,
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.home), "GOMAXPROCS": "2"},
        )  # fmt: skip
        self._wait()

    def stop(self) -> None:
        """End the process; what it stored stays."""
        self._process.terminate()
        try:
            self._process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        self.stop()
        self._log.close()

    def seal(self) -> None:
        self.world.must("PUT", "sys/seal", {})

    def unseal(self) -> None:
        self.world.must("PUT", "sys/unseal", {"key": self.key})
        end = time.monotonic() + _START_SECONDS
        while self.world.ask("GET", "sys/health")[0] != 200:
            assert time.monotonic() < end, "it does not become active"
            time.sleep(0.05)

    def _wait(self) -> None:
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                socket.create_connection((LOOPBACK, self.port), timeout=1).close()
            except OSError:
                assert self._process.poll() is None, f"it ended: see {self._log.name}"
                assert time.monotonic() < end, "it does not answer"
                time.sleep(0.1)
            else:
                return


def version(binary: str) -> str:
    """Return what the binary says it is."""
    said = subprocess.run([binary, "version"], capture_output=True, text=True, check=True)
    return said.stdout.strip()


def free_port() -> int:
    """Return a port of loopback that nobody has now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def binary() -> str | None:
    """Return the binary that the environment names, if any."""
    return os.environ.get("BAO_BIN") or os.environ.get("VAULT_BIN")


def server() -> World | None:
    """Return the running server that VAULT_ADDR names, with VAULT_TOKEN, a root token."""
    url, token = os.environ.get("VAULT_ADDR"), os.environ.get("VAULT_TOKEN")
    if not url or not token:
        return None
    ca_file = os.environ.get("VAULT_CACERT")
    return World(url.rstrip("/"), token, Path(ca_file) if ca_file else None)
