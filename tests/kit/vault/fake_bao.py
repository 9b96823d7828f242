"""As much of the program `bao` as the runbooks use, over the API of whatever server there is.

It is run as a program, often, so that it imports nothing but what Python brings.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from pathlib import Path
from typing import Any


def install(where: Path) -> Path:
    """Write the program; return its path."""
    program = where / "bao"
    program.write_text(f"#!{sys.executable} -I\nimport runpy\nrunpy.run_path({__file__!r}, "
                       "run_name='__main__')\n")  # fmt: skip
    program.chmod(0o755)
    return program


def main() -> None:
    options = dict(_option(word) for word in sys.argv[1:] if word.startswith("-") and word != "-")
    words = [word for word in sys.argv[1:] if not word.startswith("-") or word == "-"]
    method, path, body = _request(words, options)
    done = _asked(method, path, body, options.get("wrap-ttl", ""))
    if "wrap-ttl" in options:
        print(done["wrap_info"]["token"], end="")
    elif "field" in options:
        print(done["data"][options["field"]], end="")
    elif words[:2] == ["policy", "list"]:
        print("\n".join(done["data"]["keys"]))


def _option(word: str) -> tuple[str, str]:
    name, _, value = word.lstrip("-").partition("=")
    return name, value


def _asked(method: str, path: str, body: Any, wrap: str) -> dict[str, Any]:
    headers = {"X-Vault-Token": os.environ["BAO_TOKEN"]}
    headers |= {"X-Vault-Wrap-TTL": wrap} if wrap else {}
    data = None if body is None else json.dumps(body).encode()
    url = f"{os.environ['BAO_ADDR']}/v1/{path}"
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read().strip() or b"{}")


def _request(  # noqa: PLR0911
    words: list[str], options: dict[str, str]
) -> tuple[str, str, Any]:
    match words:
        case ["policy", "list"]:
            return "LIST", "sys/policies/acl", None
        case ["policy", "write", name, "-"]:
            return "PUT", f"sys/policies/acl/{name}", {"policy": sys.stdin.read()}
        case ["secrets", "enable", kind]:
            body = {"type": kind, "options": {"version": options["version"]}}
            return "POST", f"sys/mounts/{options['path']}", body
        case ["auth", "enable", kind]:
            return "POST", f"sys/auth/{kind}", {"type": kind}
        case ["operator", "unseal", key]:
            return "PUT", "sys/unseal", {"key": key}
        case ["lease", "revoke", prefix]:
            return "PUT", f"sys/leases/revoke-prefix/{prefix}", {}
        case ["read", path]:
            return "GET", path, None
        case ["delete", path]:
            return "DELETE", path, None
        case ["write", path, "-"]:
            return "POST", path, json.loads(sys.stdin.read())
        case ["write", path, *pairs]:
            role: dict[str, Any] = dict(pair.split("=", 1) for pair in pairs)
            role |= {"token_policies": [role["token_policies"]]} if "token_policies" in role else {}
            return "POST", path, role
    raise SystemExit(f"this bao does not know {words}")


if __name__ == "__main__":
    main()
