"""Decision 18: what lies around in the environment steers nothing."""

from __future__ import annotations

import os
import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.kit.cli import Cli
from tests.kit.stores import resolve_one, revealed
from tests.kit.vault import Double, World
from tests.kit.vaultwarden.certs import Authority
from tests.vault import place
from vault_svc.adapters.sources.vault import wire
from vault_svc.adapters.sources.vault.client import Client
from vault_svc.adapters.sources.vault.session import trust
from vault_svc.domain.secret import SecretValue

BAIT = "bait-7c1e-from-the-environment"


@pytest.fixture
def trap():
    """A proxy and a server that only notes who came."""
    came: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            came.append(f"{self.command} {self.path} {dict(self.headers)}")
            self.send_error(502)

        do_POST = do_PUT = do_CONNECT = do_LIST = do_GET  # noqa: N815

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", came
    server.shutdown()
    server.server_close()
    thread.join()


def planted(home: Path, proxy: str) -> dict[str, str]:
    """Everything that hvac, requests, or the servers' own tools would take from here."""
    (home / ".vault-token").write_text(BAIT)
    (home / ".netrc").write_text(f"machine 127.0.0.1 login x password {BAIT}\n")
    (home / ".netrc").chmod(0o600)
    return {
        "HOME": str(home),
        "NETRC": str(home / ".netrc"),
        "VAULT_TOKEN": BAIT,
        "BAO_TOKEN": BAIT,
        "VAULT_ADDR": proxy,
        "BAO_ADDR": proxy,
        "VAULT_NAMESPACE": BAIT,
        "VAULT_SKIP_VERIFY": "1",
        "VAULT_CACERT": str(home / "no-such-ca.pem"),
        "VAULT_CAPATH": str(home),
        "VAULT_CLIENT_CERT": str(home / "no-such.crt"),
        "VAULT_CLIENT_KEY": str(home / "no-such.key"),
        "REQUESTS_CA_BUNDLE": str(home / "no-such-ca.pem"),
        "CURL_CA_BUNDLE": str(home / "no-such-ca.pem"),
        **{
            name: proxy
            for each in ("http_proxy", "https_proxy", "all_proxy")
            for name in (each, each.upper())
        },
        "no_proxy": "",
    }


def test_a_whole_delivery_with_everything_planted(state_dir, trap):
    """In a process of its own: some of it is read when a module is imported."""
    proxy, came = trap
    authority = Authority(state_dir)
    with Double(authority.issue("server")) as double:
        world = World(double.url, double.root, authority.file, server=double).prepared()
        world.fill("acme", {"API_KEY": "sk-0123456789"})
        cli = place.logged_in(Cli(state_dir).ready(), world)
        cli.register("acme", "--source", "vault")
        double.log.clear()
        cli.settings |= planted(state_dir, proxy)
        cli.process("provision", "acme").must()
        cli.process("source", "test", "vault").must()
        asked = len(double.log)
    assert (cli.jail_root("acme") / "home/app/.env").read_text().count("sk-0123456789") == 1
    assert asked >= 6
    assert came == []
    assert BAIT not in repr(double.log)


def test_the_same_trap_sees_who_does_listen_to_it(state_dir, trap, monkeypatch):
    """The eyes of the test above: hvac's own client takes token and address from there."""
    import hvac

    proxy, came = trap
    for name, value in planted(state_dir, proxy).items():
        monkeypatch.setenv(name, value)
    client = hvac.Client()
    assert client.token == BAIT
    assert client.session.get("http://127.0.0.1:9/", timeout=5).status_code == 502
    assert len(came) == 1


def test_a_proxy_that_was_configured_is_used(world, trap):
    proxy, came = trap
    world.fill("acme", {"A": "1"})
    found = resolve_one(place.source(world, proxy=proxy), world.place.ref("acme"))
    assert found.code == "source_unreachable"
    assert len(came) >= 1


def test_only_the_pinned_authority_counts(tmp_path):
    """Neither another private one, nor any that the host or a library trusts."""
    (tmp_path / "other").mkdir()
    right, other = Authority(tmp_path), Authority(tmp_path / "other")
    with Double(right.issue("server")) as double:
        world = World(double.url, double.root, right.file, server=double).prepared()
        world.fill("acme", {"A": "1"})
        for ca in (other.file.read_text(), ""):
            double.log.clear()
            source = place.source(world, account=place.account(world, ca=ca))
            double.log.clear()
            refused = resolve_one(source, world.place.ref("acme"))
            assert (refused.code, "not trusted" in refused.message) == ("server_mismatch", True)
            assert double.log == []
        context = trust(right.file.read_text())
        session = wire.session(context, place.options())
        assert session.get(f"{double.url}/v1/sys/health", timeout=5).status_code == 200
        assert Client(wire.Wire(session, place.options(), double.url), world.place).health()
        session.close()
        assert len(context.get_ca_certs()) == 1
        assert revealed(resolve_one(place.source(world), world.place.ref("acme"))) == {"A": "1"}


@pytest.mark.parametrize("wrong", [{"host": "192.0.2.7"}, {"days": -1}])
def test_a_certificate_for_another_name_or_time_is_refused(tmp_path, wrong):
    authority = Authority(tmp_path)
    with Double(authority.issue("server", **wrong)) as double:
        account = place.Account(
            server=double.url, namespace="", mount="secret", folder="tenants", version=2,
            method="approle", auth_mount="approle", ca=authority.file.read_text(),
            role_id="r", secret_id=SecretValue("s"),
        )  # fmt: skip
        source = place.VaultSource(lambda: account, place.sessions(), place.Rules())
        assert resolve_one(source, account.place.ref("acme")).code == "server_mismatch"
        assert double.log == []


def test_list_and_help_do_not_import_the_library(state_dir):
    cli = Cli(state_dir).ready()
    cli.settings["PYTHONPROFILEIMPORTTIME"] = "1"
    for line in ("list-tenants", "--help", "source --help", "source show vault"):
        shown = cli.process(*line.split()).stderr
        assert "import time:" in shown
        if line != "source show vault":
            assert "hvac" not in shown, line
            assert "requests" not in shown, line
    assert os.environ.get("PYTHONPROFILEIMPORTTIME") is None


def test_the_namespace_goes_along_with_all_but_the_whole_servers_health(world, monkeypatch):
    """No namespace of a real server has sys/health."""
    seen = set()
    real = wire.Wire._ask

    def watched(self, prepared):
        path = prepared.url.rpartition("/v1/")[2]
        seen.add((path, prepared.headers.get("X-Vault-Namespace")))
        return real(self, prepared)

    monkeypatch.setattr(wire.Wire, "_ask", watched)
    world.fill("acme", {"A": "1"})
    resolve_one(place.source(world, account=place.account(world, namespace="team/a")),
                world.place.ref("acme"))  # fmt: skip
    health = {each for each in seen if each[0].startswith("sys/health")}
    assert {namespace for _, namespace in health} == {None}
    assert {namespace for _, namespace in seen - health} == {"team/a"}
    assert len(seen) >= 5


def test_the_hosts_authorities_are_the_hosts_and_no_key_is_written_down(tmp_path, monkeypatch):
    planted = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(planted.file))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    assert ssl.create_default_context().keylog_filename  # the eyes: the library's own listens
    context = trust("")
    assert context.keylog_filename is None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    theirs = ssl.create_default_context(cafile=str(planted.file)).get_ca_certs()
    assert [one for one in context.get_ca_certs() if one in theirs] == []
