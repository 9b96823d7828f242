"""From what a KV engine holds to variables: strings, under names a jail may be given."""

from __future__ import annotations

from vault_svc.adapters.sources.limits import misfit
from vault_svc.adapters.sources.vault.client import Found
from vault_svc.adapters.sources.vault.options import Rules
from vault_svc.domain import names
from vault_svc.domain.secret import CollectionRef, SecretSet, SecretValue
from vault_svc.errors import ColibriError


def secret_set(ref: CollectionRef, found: Found, rules: Rules) -> SecretSet:
    """Return the variables of a collection.

    Raises `secret_name_refused`, and `secret_value_unrepresentable` for what is no string or
    over a limit; the variable is named, its value never.
    """
    if len(found.data) > rules.max_secrets:
        raise _refused(
            ref,
            f"has {len(found.data)} variables, max_secrets_per_collection is {rules.max_secrets}",
        )
    kept: dict[str, SecretValue] = {}
    total = 0
    for name in sorted(found.data):
        value = found.data[name]
        names.variable(name, allowed=rules.allowed_variables)
        if not isinstance(value, str):
            raise _refused(ref, f"has a value of {name} that is no string: put it in quotes")
        kept[name] = SecretValue(value)
        if why := misfit(kept[name], rules.max_value_bytes):
            raise _refused(ref, f"has a value of {name} that {why}")
        total += len(kept[name])
    if total > rules.max_collection_bytes:
        raise _refused(
            ref, f"has {total} bytes, max_collection_bytes is {rules.max_collection_bytes}"
        )
    return SecretSet(ref.collection_id, found.revision, kept)


def _refused(ref: CollectionRef, why: str) -> ColibriError:
    return ColibriError("secret_value_unrepresentable", f"collection '{ref.name}' {why}")
