"""A real PostgreSQL on loopback behind a real server's database engine."""

from __future__ import annotations

import dataclasses
import os
import pwd
import secrets
import shutil
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.kit.vaultwarden.certs import LOOPBACK
from tests.live.vault.process import free_port
from tests.vault.bank import LIFE, LONGEST, SHORT, SHORT_LONGEST, Bank

_MAKE = (
    "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';"
    " COMMENT ON ROLE \"{{name}}\" IS '%s';"
)


def programs() -> Path | None:
    """Return the directory of PostgreSQL's programs, of the newest there is.

    None too for an account without a name: they refuse it.
    """
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        return None
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    every = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: p.parts[-3])
    return every[-1].parent if every else None


class Postgres:
    """A cluster of its own in home, which is empty; as root it runs as `nobody`."""

    def __init__(self, bin_dir: Path, home: Path) -> None:
        self._bin, self._home = bin_dir, home
        self.port, self.password = free_port(), secrets.token_hex(16)
        self._user = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.geteuid()
        os.chown(home, self._user, -1)
        secret = home / "pw"
        secret.touch(mode=0o600)
        secret.write_text(self.password)
        os.chown(secret, self._user, -1)
        self._run(
            "initdb", "-D", str(home / "data"), "-U", "manager", f"--pwfile={secret}",
            "--auth=scram-sha-256", "--no-sync",
        )  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def start(self) -> None:
        options = {"listen_addresses": LOOPBACK, "unix_socket_directories": "", "fsync": "off",
                   "max_connections": "30", "shared_buffers": "16MB"}  # fmt: skip
        named = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._home / "data", "-p", str(self.port), *named],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=self._user,
            )  # fmt: skip
        until = time.monotonic() + 30
        while not self.answers("manager", self.password, "SELECT 1"):
            assert time.monotonic() < until, "PostgreSQL does not start"
            time.sleep(0.1)

    def stop(self) -> None:
        if self._process:
            self._process.send_signal(3)  # SIGQUIT: at once
            self._process.wait(timeout=20)
            self._process = None

    def answers(self, user: str, password: str, sql: str) -> str | None:
        """Return what a query says to this user, None where he may not log in."""
        done = subprocess.run(
            [self._bin / "psql", "-XAtq", "-h", LOOPBACK, "-p", str(self.port), "-U", user,
             "-d", "postgres", "-c", sql],
            env={"PGPASSWORD": password, "PATH": "/usr/bin:/bin", "PGCONNECT_TIMEOUT": "5"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout if done.returncode == 0 else None

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self._bin / program, *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True, user=self._user,
        )  # fmt: skip


@dataclasses.dataclass
class RealBank(Bank):
    """The same paths as the double's, over a real database; the mount's name marks its accounts."""

    postgres: Postgres = None  # type: ignore[assignment]

    def opened(self) -> RealBank:
        must, mount = self.world.must, self.mount
        must("POST", f"sys/mounts/{mount}", {"type": "database"})
        address = f"{LOOPBACK}:{self.postgres.port}/postgres?sslmode=disable"
        must(
            "POST",
            f"{mount}/config/main",
            {"plugin_name": "postgresql-database-plugin", "allowed_roles": ["*"],
             "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@{address}",
             "username": "manager", "password": self.postgres.password},
        )  # fmt: skip
        for role, life, longest in (("app", LIFE, LONGEST), ("short", SHORT, SHORT_LONGEST)):
            must(
                "POST",
                f"{mount}/roles/{role}",
                {"db_name": "main", "creation_statements": [_MAKE % mount],
                 "default_ttl": f"{life}s", "max_ttl": f"{longest}s"},
            )  # fmt: skip
        must("POST", f"sys/mounts/{self.pki}", {"type": "pki"})
        must("POST", f"{self.pki}/root/generate/internal", {"common_name": "test", "ttl": "1h"})
        must(
            "POST",
            f"{self.pki}/roles/web",
            {"allow_any_name": True, "enforce_hostnames": False, "ttl": "600s", "no_store": True},
        )
        return self

    def works(self, user: str, password: str) -> bool:
        return self.postgres.answers(user, password, "SELECT 1") is not None

    def users(self) -> set[str]:
        sql = (
            "SELECT rolname FROM pg_roles WHERE"
            f" shobj_description(oid, 'pg_authid') = '{self.mount}'"
        )
        found = self.postgres.answers("manager", self.postgres.password, sql)
        assert found is not None
        return set(found.split())

    def fail(self) -> None:
        self.postgres.stop()

    def heal(self) -> None:
        self.postgres.start()
