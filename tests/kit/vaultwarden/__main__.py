"""Run the double by hand: `python -m tests.kit.vaultwarden --collections 3`.

Prints where it is and the throwaway account, which exists only as long as it runs.
"""

from __future__ import annotations

import argparse
import signal
import tempfile
from pathlib import Path

from tests.kit.vaultwarden import ARGON2ID, PBKDF2, Double


def main() -> None:
    """Fill a double and serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.kit.vaultwarden", description=__doc__)
    parser.add_argument("--collections", type=int, default=2, help="how many tenants")
    parser.add_argument("--items", type=int, default=5, help="logins in each")
    parser.add_argument("--argon2id", action="store_true", help="an Argon2id account")
    parser.add_argument("--key-id", action="store_true", help="know the 2026.9 key-id route")
    asked = parser.parse_args()
    kdf = ARGON2ID if asked.argon2id else PBKDF2
    with (
        tempfile.TemporaryDirectory() as home,
        Double(Path(home), kdf=kdf, key_id_endpoint=asked.key_id) as double,
    ):
        fill(double, asked.collections, asked.items)
        print(f"url            {double.url}\nCA             {double.ca_file}")
        print(f"organization   {double.organization.name} {double.organization.id}")
        print(f"client id      {double.client_id}\nclient secret  {double.client_secret}")
        print(f"password       {double.password}", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


def fill(double: Double, collections: int, items: int) -> None:
    """Make tenant-000, tenant-001, ... with KEY_0, KEY_1, ... in each."""
    for number in range(collections):
        made = double.add_collection(f"tenant-{number:03}")
        for key in range(items):
            double.add_login(made, f"KEY_{key}", f"value {key} of {number}")


if __name__ == "__main__":
    main()
