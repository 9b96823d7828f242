"""Make the certificates of compose.yaml: `python -m tests.live.vaultwarden DIR`.

Then, with the server up: VAULTWARDEN_URL=https://127.0.0.1:8443 VAULTWARDEN_CA_FILE=DIR/ca.pem
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.kit.vaultwarden.certs import Authority


def main() -> None:
    """Write ca.pem, server.crt and server.key (0600) into a directory, made 0700 if missing."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    home = Path(sys.argv[1])
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    Authority(home).issue("server")
    print(home / "ca.pem")


if __name__ == "__main__":
    main()
