"""A thousand tenants of one real server, beside its own agent with a thousand templates.

Needs BAO_BIN or VAULT_BIN. The server speaks TLS and writes an audit log, by which requests are
counted. Its files are in memory first: a server's disk is its own machine's, here it would be the
jails' too. Then they are on this disk. The agent has one identity that may read everything: it
knows no other way to serve many tenants in one process.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from statistics import median
from typing import Self
from unittest import mock

from tests.bench import fleet
from tests.bench.measure import COLIBRI, Ran, child
from tests.live.vault import process
from tests.vault import place
from vault_svc.adapters.credentials.store import UriCredentials
from vault_svc.adapters.sources.vault.source import VaultSource
from vault_svc.config import load
from vault_svc.domain.receipt import Owner
from vault_svc.services.registration import Registration
from vault_svc.wiring import Services

ITEMS = 5
_TURNS = 5
_MEMORY = "/dev/shm"
_AGENT = """\
exit_after_auth = true
vault {{ address = "{url}" ca_cert = "{ca}" }}
auto_auth {{
  method "approle" {{
    config = {{ role_id_file_path = "{home}/role-id", secret_id_file_path = "{home}/secret-id",
               remove_secret_id_file_after_reading = false }}
  }}
}}
template_config {{ exit_on_retry_failure = true }}
"""
_TEMPLATE = """\
template {{
  destination = "{home}/out/{name}/.env"
  perms = "0600"
  contents = "{{{{ with secret \\"{mount}/data/tenants/{name}\\" }}}}{{{{ range $k, $v := .Data.data }}}}{{{{ $k }}}}={{{{ $v }}}}\\n{{{{ end }}}}{{{{ end }}}}"
}}
"""  # noqa: E501


class Host:
    """A real server with a collection per tenant, and a scratch orchestrator with their rows."""

    def __init__(self, binary: str, tenants: int, storage: str | None = None) -> None:
        home = Path("/var/lib" if os.geteuid() == 0 else Path.home())
        self.state = home / f"colibri-bench-vault-{os.getpid()}"
        # Beside the jails: what the agent renders is written to the same disk.
        self.work = Path(tempfile.mkdtemp(prefix="colibri-bench-vault-", dir=home))
        self._server_home = Path(tempfile.mkdtemp(prefix="colibri-bench-vault-", dir=storage))
        self.environ = {
            "COLIBRI_DAEMON_DATA_DIR": str(self.state),
            "COLIBRI_CONFIG": os.devnull,
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
        }
        self.binary = binary
        self.names = [f"t{number:05}" for number in range(tenants)]
        self._audit = self._server_home / "audit.log"
        self.server = process.Server(binary, self._server_home, audit=self._audit)
        self.world = self.server.world.prepared()
        self.write("first")
        self.world.install(*self.names)
        self._register()
        self._configure_agent()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.server.close()
        shutil.rmtree(self.state)
        shutil.rmtree(self.work)
        shutil.rmtree(self._server_home)

    def write(self, value: str) -> None:
        """Give every collection five new values."""
        for name in self.names:
            texts = {f"KEY_{i}": f"{value}-{name}-{i}-{'x' * 32}" for i in range(ITEMS)}
            self.world.put(name, texts)

    def _register(self) -> None:
        services = Services(load(self.environ))
        services.initialise()
        blob = place.account(self.world).blob()
        UriCredentials().put(f"file:{self.state}/credentials/vault", blob)
        owner = Owner(1000, 1000) if os.geteuid() == 0 else None
        with fleet.unsynced():
            for name in self.names:
                ref = self.world.place.ref(name)
                asked = Registration(
                    name, source="vault", tier="scratch", owner=owner, create_jail=True
                )
                # One listing for each registration is not what is measured.
                with mock.patch.object(VaultSource, "locate", lambda *_, ref=ref: ref):
                    services.registrar.register(asked)
        services._registry.dispose()

    def _configure_agent(self) -> None:
        policy = f'path "{self.world.mount}/data/tenants/*" {{ capabilities = ["read"] }}'
        self.world.must("PUT", "sys/policies/acl/agent", {"policy": policy})
        self.world.must("POST", "auth/approle/role/agent", {"token_policies": ["agent"]})
        role = self.world.must("GET", "auth/approle/role/agent/role-id")["data"]["role_id"]
        secret = self.world.must("POST", "auth/approle/role/agent/secret-id", {})["data"]
        (self.work / "role-id").write_text(role)
        (self.work / "secret-id").write_text(secret["secret_id"])
        for name in self.names:  # each in a directory of its own, as in a jail
            (self.work / "out" / name).mkdir(mode=0o700, parents=True)
        mount, home = self.world.mount, self.work
        whole = _AGENT.format(url=self.world.url, ca=self.world.ca_file, home=home)
        whole += "".join(_TEMPLATE.format(home=home, name=n, mount=mount) for n in self.names)
        (self.work / "agent.hcl").write_text(whole)

    def requests(self) -> int:
        """Return how many requests the server has written down."""
        with self._audit.open("rb") as lines:
            return sum(json.loads(line).get("type") == "request" for line in lines)


def report(tenants: int) -> None:
    binary = process.binary()
    if binary is None:
        print("vault: not measured, set BAO_BIN or VAULT_BIN")
        return
    print(process.version(binary))
    if os.path.isdir(_MEMORY):
        print("the server's files in memory")
        _compare(binary, tenants, _MEMORY)
    print("the server's files on this disk")
    _compare(binary, tenants, None)


def _compare(binary: str, tenants: int, storage: str | None) -> None:
    with Host(binary, tenants, storage) as host:
        provision = (COLIBRI, "provision", "--all", "--json")
        _run("colibri, first delivery", provision, host)
        seconds, peaks = [], []
        for turn in range(_TURNS):
            host.write(f"turn{turn}")
            ours, _ = _run("colibri, everything changed", provision, host)
            theirs = _agent(host, f"turn{turn}")
            seconds.append(theirs.wall / ours.wall)
            peaks.append(ours.peak / theirs.peak)
        _, asked = _run("colibri, nothing changed", provision, host)
        print(f"agent / colibri, seconds        ratio {median(seconds):5.2f}  (goal > 1)")
        print(f"requests a tenant, unchanged          {asked / tenants:5.2f}  (goal at most 2)")
        print(f"colibri / agent, peak memory    ratio {median(peaks):5.2f}  (goal 0.33)")


def _agent(host: Host, value: str) -> Ran:
    argv = (host.binary, "agent", f"-config={host.work}/agent.hcl", "-log-level=error")
    ran, _ = _run("agent, everything rendered", argv, host)
    made = list((host.work / "out").glob("*/.env"))
    last = (host.work / "out" / host.names[-1] / ".env").read_text()
    if len(made) != len(host.names) or f"KEY_4={value}-" not in last:
        raise SystemExit("the agent did not render everything")
    return ran


def _run(name: str, argv: tuple[str, ...], host: Host) -> tuple[Ran, int]:
    before = host.requests()
    ran = child(argv, host.environ)
    if ran.status:
        raise SystemExit(f"{name}: exit status {ran.status}")
    asked = host.requests() - before
    per = asked / len(host.names)
    told = f"processor {ran.cpu:.2f} s, {per:.2f} requests a tenant, peak {ran.peak:.0f} MiB"
    print(f"{name:<31} {ran.wall:7.2f} s  {told}")
    return ran, asked
