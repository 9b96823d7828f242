"""As much of the program `bao` as the runbooks use, over the API of whatever server there is."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


def install(where: Path) -> Path:
    """Write the program; return its path."""
    program = where / "bao"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
        "from tests.kit.vault.fake_bao import main\nmain()\n"
    )
    program.chmod(0o755)
    return program


def main() -> None:
    from tests.kit.vault.world import World

    ca_file = os.environ.get("BAO_CACERT")
    world = World(
        os.environ["BAO_ADDR"], os.environ["BAO_TOKEN"], Path(ca_file) if ca_file else None
    )
    options = dict(_option(word) for word in sys.argv[1:] if word.startswith("-") and word != "-")
    words = [word for word in sys.argv[1:] if not word.startswith("-") or word == "-"]
    done = _ask(world, words, options) or {}
    if "wrap-ttl" in options:
        print(done["wrap_info"]["token"], end="")
    elif "field" in options:
        print(done["data"][options["field"]], end="")
    elif words[:2] == ["policy", "list"]:
        print("\n".join(done["data"]["keys"]))


def _option(word: str) -> tuple[str, str]:
    name, _, value = word.lstrip("-").partition("=")
    return name, value


def _ask(  # noqa: PLR0911
    world: Any, words: list[str], options: dict[str, str]
) -> Any:
    match words:
        case ["policy", "list"]:
            return world.must("LIST", "sys/policies/acl")
        case ["policy", "write", name, "-"]:
            return world.must("PUT", f"sys/policies/acl/{name}", {"policy": sys.stdin.read()})
        case ["secrets", "enable", kind]:
            body = {"type": kind, "options": {"version": options["version"]}}
            return world.must("POST", f"sys/mounts/{options['path']}", body)
        case ["auth", "enable", kind]:
            return world.must("POST", f"sys/auth/{kind}", {"type": kind})
        case ["operator", "unseal", key]:
            return world.must("PUT", "sys/unseal", {"key": key})
        case ["lease", "revoke", prefix]:
            return world.must("PUT", f"sys/leases/revoke-prefix/{prefix}", {})
        case ["read", path]:
            return world.must("GET", path)
        case ["delete", path]:
            return world.must("DELETE", path)
        case ["write", path, "-"]:
            return world.must("POST", path, json.loads(sys.stdin.read()))
        case ["write", path, *pairs]:
            body: dict[str, Any] = dict(pair.split("=", 1) for pair in pairs)
            body |= {"token_policies": [body["token_policies"]]} if "token_policies" in body else {}
            return world.must("POST", path, body, wrap=options.get("wrap-ttl", ""))
    raise SystemExit(f"this bao does not know {words}")
