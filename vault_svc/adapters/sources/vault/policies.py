"""What the server must hold for colibri: rendered from policies/vault, compared, installed."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from hvac.api.auth_methods import Token
from hvac.api.system_backend import Policies

from vault_svc.adapters.sources.vault import failures, places
from vault_svc.adapters.sources.vault.client import Client
from vault_svc.adapters.sources.vault.lease_rules import lease_rules
from vault_svc.adapters.sources.vault.places import Place
from vault_svc.adapters.sources.vault.refusal import Refusal
from vault_svc.adapters.sources.vault.wire import part
from vault_svc.domain.lease import Request
from vault_svc.errors import ColibriError
from vault_svc.ports.source_admin import Document

POLICY: Final = "policy"
ROLE: Final = "token role"
ADVICE: Final = "advice"
_PACKAGE: Final = Path(__file__).parents[3]
# In the wheel inside the package; in a checkout beside it, where they are reviewed.
_FOLDERS: Final = (_PACKAGE / "_policies" / "vault", _PACKAGE.parent / "policies" / "vault")

_NOBODY: Final[Mapping[str, Sequence[Request]]] = MappingProxyType({})

# Of a role: what ours is silent about, and what could let it make more than ours does.
_EMPTY: Final[dict[str, Any]] = {
    "allowed_policies": [], "disallowed_policies": [], "disallowed_policies_glob": [],
    "allowed_entity_aliases": [], "token_bound_cidrs": [], "token_num_uses": 0, "path_suffix": "",
}  # fmt: skip


def rendered(
    place: Place, names: Sequence[str], leased: Mapping[str, Sequence[Request]] = _NOBODY
) -> tuple[Document, ...]:
    """Return the orchestrator's policy, the token role, each collection's policy, the advice.

    leased: what each tenant leases; where there is any, with the role and policies for that.
    """
    old = "-kv1" if place.version == 1 else ""
    orchestrator = _filled(f"orchestrator{old}.hcl", place)
    if leased:
        orchestrator += _filled("orchestrator-leases.hcl", place)
    found = [
        Document(places.ORCHESTRATOR_POLICY, POLICY, orchestrator),
        Document(places.TOKEN_ROLE, ROLE, _filled("token-role.json", place)),
    ]
    for name in names:
        text = _filled(f"tenant{old}.hcl", place).replace("@name@", name)
        found.append(Document(places.policy_of(name), POLICY, text))
    if leased:
        found.append(Document(places.LEASE_ROLE, ROLE, _filled("lease-role.json", place)))
    for tenant_id in sorted(leased):
        text = _filled("lease.hcl", place).replace("@name@", tenant_id)
        text += lease_rules(leased[tenant_id])
        found.append(Document(places.lease_policy_of(tenant_id), POLICY, text))
    return (*found, Document("audit-device", ADVICE, _filled("audit-device.txt", place)))


def compared(client: Client, wanted: Sequence[Document]) -> tuple[Document, ...]:
    """Return each document that the server should hold with how the server's differs."""
    return tuple(_compared(client, each) for each in wanted if each.kind != ADVICE)


def applied(client: Client, wanted: Sequence[Document]) -> tuple[Document, ...]:
    """Install what is missing or differs; return all with what was done."""
    done = []
    for each in compared(client, wanted):
        if each.state != "same":
            _write(client, each)
            done.append(replace(each, state="written", difference=""))
        else:
            done.append(each)
    return tuple(done)


def _filled(name: str, place: Place) -> str:
    for folder in _FOLDERS:
        if (folder / name).is_file():
            text = (folder / name).read_text("utf-8")
            return text.replace("@mount@", place.mount).replace("@folder@", place.folder)
    raise ColibriError("internal", f"policies/vault/{name} is not part of this installation")


def _compared(client: Client, wanted: Document) -> Document:
    text = _role(client, wanted) if wanted.kind == ROLE else _policy(client, wanted.name)
    if text is None:
        return replace(wanted, state="missing")
    mine = _canonical(wanted.text) if wanted.kind == ROLE else wanted.text.strip()
    if text in {mine, _with_leases(wanted)}:
        return replace(wanted, state="same")
    lines = difflib.unified_diff(
        text.splitlines(), mine.splitlines(), "server", "colibri", lineterm=""
    )
    return replace(wanted, state="differs", difference="\n".join(lines))


def _with_leases(wanted: Document) -> str:
    """Return the orchestrator's policy as it is where tenants lease: right also where none does."""
    if wanted.name != places.ORCHESTRATOR_POLICY:
        return wanted.text
    return (wanted.text + _filled("orchestrator-leases.hcl", Place("", "", 2))).strip()


def _policy(client: Client, name: str) -> str | None:
    found = _asked(lambda: Policies(client.wire).read_acl_policy(name), f"look at policy '{name}'")
    text = part(found or {}, "data").get("policy")
    return text.strip() if isinstance(text, str) else None


def _role(client: Client, wanted: Document) -> str | None:
    """Return what the role says about all that ours decides, in our form."""
    name = wanted.name
    found = _asked(lambda: Token(client.wire).read_role(name), f"look at token role '{name}'")
    if found is None:
        return None
    decided = _decided(part(found, "data"), json.loads(wanted.text))
    return json.dumps(decided, indent=2, sort_keys=True)


def _decided(found: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    decided = {name: found.get(name) or type(value)() for name, value in ours.items()}
    return decided | {name: found[name] for name in _EMPTY if found.get(name)}


def _canonical(text: str) -> str:
    return json.dumps(json.loads(text), indent=2, sort_keys=True)


def _write(client: Client, wanted: Document) -> None:
    if wanted.kind == ROLE:
        # By hand: hvac has no argument for policy globs.
        role = _EMPTY | json.loads(wanted.text)
        path = f"/v1/auth/token/roles/{wanted.name}"
        _asked(lambda: client.wire.post(path, json=role), f"write token role '{wanted.name}'")
    else:
        write = Policies(client.wire).create_or_update_acl_policy
        _asked(lambda: write(wanted.name, wanted.text), f"write policy '{wanted.name}'")


def _asked(ask: Any, doing: str) -> Any:
    try:
        return ask()
    except Refusal as refusal:
        if failures.is_missing(refusal):
            return None
        raise failures.of_orchestrator(refusal, doing) from None
