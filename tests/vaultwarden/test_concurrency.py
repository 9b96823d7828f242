"""Many at once over the real bw: no session disturbs another, and no delivery is lost."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.kit import bw
from tests.kit.cli import INSTALLED, Cli
from tests.kit.vaultwarden import Double
from tests.vaultwarden import place

pytestmark = pytest.mark.xdist_group("vaultwarden")

PROCESSES = 8
PATIENT = {"COLIBRI_LOCK_TIMEOUT_SECONDS": "240", "COLIBRI_BW_LOCK_TIMEOUT_SECONDS": "240"}


@pytest.fixture
def delivered(double: Double, state_dir: Path) -> Cli:
    """Four registered tenants with a value each, not yet delivered."""
    cli = Cli(state_dir, dict(PATIENT)).ready()
    place.store_login(cli, bw.installed(), double)
    for number in range(4):
        collection = double.add_collection(f"t{number}")
        double.add_login(collection, "KEY", f"value-{number}")
    content = _source(cli, double).content(items=False)
    for ref in content.collections:
        # One session for all registrations: registering is not what is tested here.
        _register(cli, ref)
    return cli


def _source(cli: Cli, double: Double):
    account = place.account(bw.installed(), double)
    return place.source(lambda: account, place.options(cli.state))


def _register(cli: Cli, ref) -> None:
    from vault_svc.adapters.sources.vaultwarden.source import VaultwardenSource

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(VaultwardenSource, "locate", lambda *_: ref)
        cli.register(ref.name, "--source", "vaultwarden")


def _start(cli: Cli, *argv: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(INSTALLED), *argv], env=cli.environment, cwd=cli.home, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def _all_fine(running: list[subprocess.Popen[str]]) -> None:
    for process in running:
        out, err = process.communicate(timeout=280)
        assert process.returncode == 0, err + out


def _everything_is_delivered(cli: Cli) -> None:
    for number in range(4):
        content = (cli.jail_root(f"t{number}") / "home/app/.env").read_bytes()
        assert f"KEY=value-{number}\n".encode() in content
        row = cli.must("show-tenant", f"t{number}", "--json").json
        assert (row["tenant"]["status"], row["tenant"]["generation"]) == ("active", 1)
        assert len(row["records"]) == 1
    assert cli.must("verify", "--all").status == 0
    cli.must("audit", "verify")
    assert place.left_behind(place.at(cli)) == []
    assert place.still_running(place.at(cli)) == []


def test_eight_processes_provision_everything_at_once(delivered):
    _all_fine([_start(delivered, "provision", "--all") for _ in range(PROCESSES)])
    _everything_is_delivered(delivered)


@pytest.mark.full
def test_processes_provision_single_tenants_at_once(delivered, double):
    """Two of them the same one: a session each, and one delivery of each tenant."""
    double.log.clear()
    tenants = ("t0", "t1", "t2", "t3", "t0")
    _all_fine([_start(delivered, "provision", name) for name in tenants])
    _everything_is_delivered(delivered)
    assert double.log.count("token") == len(tenants)


def test_while_the_real_bw_runs_no_secret_is_in_an_argument_or_a_wrong_environment(
    delivered, double
):
    """A root hunter looks at every process of the session, fifty times a second."""
    seen: dict[str, set[str]] = {}
    stop = threading.Event()
    secrets = {"password": double.password, "secret": double.client_secret, "value": "value-0"}

    def hunt() -> None:
        while not stop.is_set():
            for pid in place.still_running(place.at(delivered)):
                look(pid)
            time.sleep(0.02)

    def look(pid: int) -> None:
        try:
            argv = Path("/proc", str(pid), "cmdline").read_bytes().decode()
            environ = Path("/proc", str(pid), "environ").read_bytes().decode()
        except OSError:
            return
        step = next((word for word in argv.split("\0") if word in {"login", "serve"}), "?")
        seen.setdefault(step, set())
        for name, secret in secrets.items():
            assert secret not in argv
            if secret in environ:
                seen[step].add(name)

    hunter = threading.Thread(target=hunt)
    hunter.start()
    try:
        _all_fine([_start(delivered, "provision", "--all")])
    finally:
        stop.set()
        hunter.join()
    # The hunter's eyes: it does see the one secret that bw takes from its environment only.
    assert seen == {"login": {"secret"}, "serve": set()}
