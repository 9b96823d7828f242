"""`source doctor` on a real Vaultwarden: the pair it calls known is the one that runs here."""

from __future__ import annotations

import pytest

from tests.kit import bw
from tests.kit.cli import Cli
from tests.vaultwarden import place


@pytest.mark.parametrize("version", bw.VERSIONS)
def test_doctor_knows_this_server_with_this_bw(new_world, state_dir, version):
    world = new_world()
    world.add_login(world.add_collection("acme"), "KEY", "value")
    cli = Cli(state_dir).ready()
    place.store_login(cli, bw.installed(version), world)
    looked = cli.must("source", "doctor", "vaultwarden", "--json").json["items"]
    said = {check["name"]: check for check in looked}
    assert said["server"]["seen"].startswith("Vaultwarden ")
    assert {
        said[name]["state"] for name in ("server", "server and bw", "organisation", "role")
    } == {"ok"}, said["server"]["seen"]
