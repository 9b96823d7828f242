"""A real Vaultwarden on loopback with TLS and a scratch data directory, from VAULTWARDEN_BIN."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.kit.vaultwarden.certs import LOOPBACK, Authority

_START_SECONDS = 30


class Vaultwarden:
    """Runs the binary until closed. home is empty and private; nothing is left outside it."""

    def __init__(self, binary: str, home: Path, *, login_burst: int = 10_000) -> None:
        authority = Authority(home)
        certificate, key = authority.issue("server")
        self.ca_file = authority.file
        self.port = _free_port()
        self.url = f"https://{LOOPBACK}:{self.port}"
        data = home / "data"
        data.mkdir(mode=0o700)
        self._log = (home / "vaultwarden.log").open("wb")
        self._process = subprocess.Popen(
            [binary], cwd=data, stdin=subprocess.DEVNULL, stdout=self._log,
            stderr=subprocess.STDOUT,
            env={
                "PATH": "/usr/bin:/bin",
                "DATA_FOLDER": str(data),
                "DOMAIN": self.url,
                "ROCKET_ADDRESS": LOOPBACK,
                "ROCKET_PORT": str(self.port),
                "ROCKET_WORKERS": "2",
                "ROCKET_TLS": f'{{certs="{certificate}",key="{key}"}}',
                "WEB_VAULT_ENABLED": "false",
                "SIGNUPS_ALLOWED": "true",
                "ENABLE_WEBSOCKET": "false",
                "DISABLE_ICON_DOWNLOAD": "true",
                "LOGIN_RATELIMIT_MAX_BURST": str(login_burst),
            },
        )  # fmt: skip
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _wait(self) -> None:
        end = time.monotonic() + _START_SECONDS
        while not alive(self.url, self.ca_file):
            assert self._process.poll() is None, f"Vaultwarden ended: see {self._log.name}"
            assert time.monotonic() < end, "Vaultwarden does not answer"
            time.sleep(0.1)


def alive(url: str, ca_file: Path) -> bool:
    """Say whether a server answers at url with a certificate that this CA vouches for."""
    host, _, port = url.removeprefix("https://").partition(":")
    context = ssl.create_default_context(cafile=ca_file)
    connection = http.client.HTTPSConnection(host, int(port or 443), timeout=5, context=context)
    try:
        connection.request("GET", "/alive")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def binary() -> str | None:
    """Return the binary that the environment names, if any."""
    return os.environ.get("VAULTWARDEN_BIN")


def server() -> tuple[str, Path] | None:
    """Return the running server that the environment names and its CA file, if any."""
    url = os.environ.get("VAULTWARDEN_URL")
    if url is None:
        return None
    system = ssl.get_default_verify_paths().cafile or ""
    return url.rstrip("/"), Path(os.environ.get("VAULTWARDEN_CA_FILE", system))
