"""A tenant's leased paths as rules of a policy: those paths, with those parameters, no others."""

from __future__ import annotations

import json
from collections.abc import Sequence

from vault_svc.domain.lease import Request


def lease_rules(requests: Sequence[Request]) -> str:
    """Return one rule a path; what takes parameters is written to, and takes ours alone."""
    paths: dict[str, dict[str, set[str]]] = {}
    capabilities: dict[str, set[str]] = {}
    for request in requests:
        allowed = paths.setdefault(request.path, {})
        capability = "update" if request.params else "read"
        capabilities.setdefault(request.path, set()).add(capability)
        for name, value in request.params:
            allowed.setdefault(name, set()).add(value)
    return "".join(
        _rule(path, allowed, sorted(capabilities[path])) for path, allowed in sorted(paths.items())
    )


def _rule(path: str, allowed: dict[str, set[str]], capabilities: Sequence[str]) -> str:
    rule = f'\npath "{path}" {{\n  capabilities = {json.dumps(capabilities)}\n'
    if allowed:
        lines = (
            f"    {json.dumps(name)} = {json.dumps(sorted(values), ensure_ascii=False)}\n"
            for name, values in sorted(allowed.items())
        )
        rule += "  allowed_parameters = {\n" + "".join(lines) + "  }\n"
    return rule + "}\n"
