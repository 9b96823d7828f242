"""Record the scenario at a real server: `BAO_BIN=… python -m tests.live.vault.capture > FILE`."""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from pathlib import Path

from tests.live.vault import process
from tests.vault import scenario


def main() -> None:
    binary = process.binary()
    if binary is None:
        raise SystemExit("set BAO_BIN or VAULT_BIN")
    with tempfile.TemporaryDirectory() as home, process.Server(binary, Path(home)) as server:
        world = dataclasses.replace(server.world, mount="recorded-kv").prepared()
        told = scenario.played(world)
        server.seal()
        status, document = server.world.ask("GET", "recorded-kv/metadata/tenants/acme")
        told.append({"name": "sealed", "method": "GET", "path": "MOUNT/metadata/tenants/acme",
                     "status": status, "answer": document})  # fmt: skip
        status, document = server.world.ask("GET", "sys/health?sealedcode=200&standbyok=true")
        document |= {"cluster_id": "hidden"} if "cluster_id" in document else {}
        told.append({"name": "sealed health", "method": "GET", "path": "sys/health",
                     "status": status, "answer": document})  # fmt: skip
    head = {
        "tool": process.version(binary),
        "built": sys.argv[1] if len(sys.argv) > 1 else "",
        "command": "python -m tests.live.vault.capture",
        "answers": told,
    }
    print(json.dumps(head, indent=1))


main()
