"""The item contract: one collection's items become its variables, or the reason why not. Pure.

A login's name is a variable, its password the value. A secure note holds NAME=value lines. All
else is left out, and counted (contracts.md, decision 20).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from vault_svc.adapters.sources.vaultwarden.options import Rules
from vault_svc.domain import names
from vault_svc.domain.dotenv_import import parse_import
from vault_svc.domain.secret import CollectionRef, SecretSet, SecretValue
from vault_svc.errors import ColibriError, printable

LOGIN: Final = 1
NOTE: Final = 2
_KINDS: Final = {3: "a card", 4: "an identity", 5: "an SSH key"}
_SHOWN: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One decrypted item; revision is its server's date. A trashed one has no name we can read."""

    id: str
    name: str
    kind: int
    collection_ids: tuple[str, ...]
    revision: str
    password: SecretValue | None = None
    notes: SecretValue | None = None
    fields: int = 0
    gone: str = ""

    def __str__(self) -> str:
        named = f"'{printable(self.name[:_SHOWN])}' " if self.name else ""
        return f"item {named}({self.id})"


def secret_set(collection: CollectionRef, items: Sequence[Item], rules: Rules) -> SecretSet:
    """Return the variables of a collection.

    Raises `secret_shared`, `secret_name_refused`, `secret_ambiguous` (both items named) and
    `secret_value_unrepresentable`; a message names items and variables, never values.
    """
    found: dict[str, SecretValue] = {}
    origin: dict[str, Item] = {}
    left_out: list[str] = []
    used: list[Item] = []
    for item in sorted(items, key=lambda item: item.id):
        if item.id in rules.ignored_items or item.gone:
            left_out.append(f"{item}: {item.gone or 'on the ignore list'}")
            continue
        _refuse_shared(item, rules)
        if item.kind not in {LOGIN, NOTE}:
            left_out.append(f"{item}: {_KINDS.get(item.kind, 'a kind colibri does not know')}")
            continue
        if item.fields:
            left_out.append(f"{item}: {item.fields} custom fields")
        used.append(item)
        for name, value in _variables(item, rules):
            if name in found:
                raise _twice(name, origin[name], item)
            found[name], origin[name] = value, item
    _refuse_too_much(collection, found, rules)
    return SecretSet(collection.collection_id, _revision(used), found, tuple(left_out))


def _variables(item: Item, rules: Rules) -> Iterator[tuple[str, SecretValue]]:
    if item.kind == NOTE:
        yield from _of_note(item, rules)
        return
    try:
        names.variable(item.name, allowed=rules.allowed_variables)
    except ColibriError as error:
        raise _refused(error, item) from None
    if item.password is None or not item.password.reveal():
        raise ColibriError(
            "secret_value_unrepresentable",
            f"{item} is a login without a password",
            hint="give it one, or put its id on the ignore list (ignored_items)",
        )
    _check(item, item.name, item.password, rules)
    yield item.name, item.password


def _of_note(item: Item, rules: Rules) -> Iterator[tuple[str, SecretValue]]:
    if item.notes is None:
        return
    try:
        lines = parse_import(
            item.notes.reveal().encode("utf-8", "surrogatepass"), allowed=rules.allowed_variables
        )
    except ColibriError as error:
        raise _refused(error, item) from None
    for name, text in lines.items():
        value = SecretValue(text)
        _check(item, name, value, rules)
        yield name, value


def _refused(error: ColibriError, item: Item) -> ColibriError:
    # A source's failures are of status 5 or 6; unclear text is a value no reader agrees about.
    code = "secret_value_unrepresentable" if error.code == "usage" else error.code
    hint = f"{error.hint}; or put its id on the ignore list (ignored_items)"
    return ColibriError(code, f"{item}: {error.message}", hint=hint)


def _refuse_shared(item: Item, rules: Rules) -> None:
    if len(item.collection_ids) > 1 and item.id not in rules.shared_items:
        raise ColibriError(
            "secret_shared",
            f"{item} is in {len(item.collection_ids)} collections",
            hint="give each tenant an item of its own, or allow this one (shared_items)",
        )


def _twice(name: str, first: Item, second: Item) -> ColibriError:
    both = str(first) if first is second else f"{first} and {second}"
    return ColibriError(
        "secret_ambiguous", f"variable {name} twice, in {both}", hint="keep one of them"
    )


def _check(item: Item, name: str, value: SecretValue, rules: Rules) -> None:
    try:
        length = len(value)
    except UnicodeEncodeError:
        why = "is not valid Unicode"
    else:
        if "\0" in value.reveal():
            why = "has a NUL character"
        elif length > rules.max_value_bytes:
            why = f"has {length} bytes, max_value_bytes is {rules.max_value_bytes}"
        else:
            return
    raise ColibriError("secret_value_unrepresentable", f"{item}: the value of {name} {why}")


def _refuse_too_much(
    collection: CollectionRef, found: dict[str, SecretValue], rules: Rules
) -> None:
    size = sum(len(name) + len(value) for name, value in found.items())
    if len(found) > rules.max_secrets or size > rules.max_collection_bytes:
        raise ColibriError(
            "secret_value_unrepresentable",
            f"collection '{printable(collection.name[:_SHOWN])}' has {len(found)} variables"
            f" of {size} bytes, the limits are {rules.max_secrets}"
            f" and {rules.max_collection_bytes}",
            hint="split it, or raise the limit in the settings",
        )


def _revision(used: Sequence[Item]) -> str:
    """Return the newest date, and what also changes when an item goes."""
    newest = max((item.revision for item in used), default="empty")
    every = "\n".join(f"{item.id} {item.revision}" for item in used)
    return f"{newest}-{hashlib.sha256(every.encode()).hexdigest()[:12]}"
