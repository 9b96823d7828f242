"""What `bw` answered, held against what its sync stored: nothing missing, foreign or undecrypted.

`bw` leaves out silently what it cannot decrypt and ends with 0 (bw.md 4.5). Its state still holds
every item with its collections, encrypted, so what is missing is known, and whose it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from vault_svc.adapters.sources.vaultwarden.account import UUID
from vault_svc.adapters.sources.vaultwarden.items import LOGIN, Item
from vault_svc.domain.secret import CollectionRef, SecretValue
from vault_svc.errors import ColibriError, printable

_CANNOT: Final = "[error: cannot decrypt]"
_CONFIRMED: Final = 2
USER: Final = 2
_SHOWN: Final = 3
_PARTS: Final = ("login", "card", "identity", "sshKey")
_NOT_LISTED: Final = frozenset({"uris", "fido2Credentials", "passwordRevisionDate"})
_NOTHING: Final = (None, "", _CANNOT)
_HIDDEN_FIELD: Final = 1
_DATE: Final = re.compile(r"[0-9TZ:.+-]{1,40}", re.ASCII)


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """Three lists as `bw` gave them, and whether it complained that it could not decrypt."""

    organizations: Any = field(repr=False)
    collections: Any = field(repr=False)
    items: Any = field(repr=False)
    complained: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """What the sync stored, still encrypted: rows by id, of all organisations."""

    organizations: Mapping[str, Any] = field(repr=False)
    collections: Mapping[str, Any] = field(repr=False)
    items: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """One organisation, read: `broken` says which collections are not whole, and why."""

    organization_id: str
    organization_name: str
    role: int
    collections: tuple[CollectionRef, ...]
    items: Mapping[str, Sequence[Item]] = field(repr=False)
    broken: Mapping[str, ColibriError]
    others: int
    writable: tuple[str, ...]
    hiding: tuple[str, ...]


def stored(state: Mapping[str, Any], user_id: str) -> Stored:
    """Return the rows of data.json; raise `source_incomplete` where a table is no table."""
    tables = []
    for key in ("organizations_organizations", "collection_collections", "ciphers_ciphers"):
        table = state.get(f"user_{user_id}_{key}") or {}
        if not isinstance(table, dict) or not all(isinstance(r, dict) for r in table.values()):
            raise _unexpected("state")
        tables.append(table)
    return Stored(*tables)


def organization(organizations: Any, wanted: str) -> Mapping[str, Any]:
    """Return the one organisation with this id, or exactly this name; confirmed and enabled.

    Raises `source_forbidden` where the account is not (or no longer) a member, or it is disabled.
    """
    rows = _rows(organizations, "organization")
    # An id first: an organisation that others called by our id must not stand in its way.
    found = [row for row in rows if row["id"] == wanted]
    found = found or [row for row in rows if row["name"] == wanted]
    if len(found) != 1:
        raise ColibriError(
            "source_forbidden" if not found else "usage",
            f"the account is a member of {len(found)} organisations '{printable(wanted[:64])}'",
            hint="name it by its id" if found else _memberships(rows),
        )
    row = found[0]
    if row.get("status") != _CONFIRMED or row.get("enabled") is not True:
        raise ColibriError(
            "source_forbidden",
            f"organisation '{printable(row['name'])}' is disabled, or the account is not confirmed",
            hint="an owner confirms members in the web vault",
        )
    return row


def _memberships(rows: Sequence[Mapping[str, Any]]) -> str:
    invite = "invite it, and confirm it, as the runbook vaultwarden-account.md says"
    names = [f"'{printable(row['name'][:64])}'" for row in rows[:_SHOWN]]
    return f"it is one of {' and '.join(names)}; else {invite}" if names else invite


def checked(lists: Lists, kept: Stored, organization_id: str) -> Content:
    """Return the organisation's content; lists.items None: the collections alone were asked for.

    Raises `source_incomplete` for whatever was not expected, `source_forbidden`.
    """
    row = organization(lists.organizations, organization_id)
    rows = _of(kept.collections, organization_id)
    names = _collections(lists, organization_id, rows)
    broken = {
        lost: ColibriError("source_incomplete", f"the name of collection {lost} is not decrypted")
        for lost in rows.keys() - names.keys()
    }
    if rows and not names:
        raise ColibriError(
            "source_incomplete",
            "no collection could be decrypted",
            hint="was the organisation's key rotated? the server may have handed out another one",
        )
    items: dict[str, list[Item]] = {collection_id: [] for collection_id in names}
    if lists.items is not None:
        _place(lists, _of(kept.items, organization_id), organization_id, items, broken)
    if lists.complained and not broken and not _has_others(kept, organization_id):
        raise ColibriError("source_incomplete", "bw could not decrypt something it does not name")
    refs = [CollectionRef(i, name) for i, name in names.items()]
    return Content(
        organization_id,
        row["name"],
        _role(kept, organization_id),
        tuple(sorted(refs, key=lambda ref: (ref.name, ref.collection_id))),
        items,
        broken,
        len(lists.organizations) - 1,
        tuple(n for i, n in names.items() if not rows[i].get("readOnly") or rows[i].get("manage")),
        tuple(n for i, n in names.items() if rows[i].get("hidePasswords")),
    )


def _role(kept: Stored, organization_id: str) -> int:
    role = kept.organizations.get(organization_id, {}).get("type")
    return role if isinstance(role, int) else -1


def _collections(lists: Lists, organization_id: str, rows: Mapping[str, Any]) -> dict[str, str]:
    """Return name by id of every collection that was decrypted."""
    found: dict[str, str] = {}
    for row in _rows(lists.collections, "collection"):
        collection_id = row["id"]
        if row.get("organizationId") != organization_id or collection_id in found:
            raise _unexpected("collections")
        if collection_id not in rows:
            raise _unexpected("collections")
        if row["name"] not in {"", _CANNOT}:
            found[collection_id] = row["name"]
    return found


def _place(
    lists: Lists,
    rows: Mapping[str, Any],
    organization_id: str,
    items: dict[str, list[Item]],
    broken: dict[str, ColibriError],
) -> None:
    """Put every stored item into its collections, or those into broken with the reason."""
    listed = _listed(lists, organization_id, rows)
    for item_id, row in rows.items():
        where = _collection_ids(row)
        gone = _gone(row)
        given = listed.get(item_id)
        if gone and given is not None:
            raise _unexpected("items")
        why = "" if gone else _damage(row, given, item_id)
        for collection_id in where:
            if why:
                broken.setdefault(collection_id, _not_whole(row, why))
            elif collection_id in items:
                items[collection_id].append(_item(item_id, row, given or {}, where, gone))


def _listed(
    lists: Lists, organization_id: str, rows: Mapping[str, Any]
) -> dict[str, Mapping[str, Any]]:
    listed: dict[str, Mapping[str, Any]] = {}
    for given in _rows(lists.items, "item"):
        row = rows.get(given["id"])
        if row is None or given["id"] in listed or given.get("organizationId") != organization_id:
            raise _unexpected("items")
        if _collection_ids(given) != _collection_ids(row) or given.get("type") != row.get("type"):
            raise _unexpected("items")
        if given.get("deletedDate"):
            raise _unexpected("items")
        listed[given["id"]] = given
    return listed


def _rows(answer: Any, kind: str) -> list[dict[str, Any]]:
    """Return answer if it is a list of objects of this kind with a plain id and a name."""
    if not isinstance(answer, list):
        raise _unexpected(f"{kind}s")
    for row in answer:
        if not isinstance(row, dict) or row.get("object") != kind:
            raise _unexpected(f"{kind}s")
        if not isinstance(row.get("id"), str) or not UUID.fullmatch(row["id"]):
            raise _unexpected(f"{kind}s")
        if not _is_text(row.get("name")):
            raise _unexpected(f"{kind}s")
    return answer


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)


def _of(rows: Mapping[str, Any], organization_id: str) -> dict[str, Any]:
    return {i: row for i, row in rows.items() if row.get("organizationId") == organization_id}


def _has_others(kept: Stored, organization_id: str) -> bool:
    """Say whether bw also decrypts what is not this organisation's, and may complain of that.

    Every part of ours was found decrypted by then; who shares another organisation with the
    account must not be able to stop ours.
    """
    rows = (*kept.items.values(), *kept.collections.values())
    return any(row.get("organizationId") != organization_id for row in rows)


def _collection_ids(row: Mapping[str, Any]) -> tuple[str, ...]:
    ids = row.get("collectionIds") or []
    if not isinstance(ids, list) or not all(isinstance(i, str) and UUID.fullmatch(i) for i in ids):
        raise _unexpected("items")
    return tuple(sorted(set(ids)))


def _gone(row: Mapping[str, Any]) -> str:
    if row.get("deletedDate"):
        return "in the trash"
    return "archived" if row.get("archivedDate") else ""


def _damage(row: Mapping[str, Any], given: Mapping[str, Any] | None, item_id: str) -> str:
    """Return what is wrong with a listed item, in words, or nothing."""
    if given is None:
        return f"item {item_id} could not be decrypted"
    lost = [path for path in _lost(row, given) if path]
    if not lost:
        return ""
    shown = f"item '{printable(given['name'][:64])}' ({item_id})"
    if row.get("viewPassword") is False:
        return f"{shown}: the collection hides its {lost[0]} from the service account"
    return f"{shown}: its {lost[0]} could not be decrypted"


def _lost(row: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[str]:
    """Yield each part that was stored and is not there decrypted."""
    hidden = row.get("viewPassword") is False
    for name in ("name", "notes"):
        if row.get(name) and given.get(name) in _NOTHING:
            yield name
    for part in _PARTS:
        inside, shown = _object(row, part), _object(given, part)
        for name, value in inside.items():
            if name not in _NOT_LISTED and isinstance(value, str) and shown.get(name) in _NOTHING:
                yield name
    fields = _fields(given)
    for number, stored_field in enumerate(_fields(row)):
        shown = fields[number] if number < len(fields) else {}
        secret = hidden and stored_field.get("type") == _HIDDEN_FIELD
        if stored_field.get("value") and shown.get("value") in _NOTHING and not secret:
            yield "custom field"


def _object(row: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    found = row.get(part) or {}
    if not isinstance(found, dict):
        raise _unexpected("items")
    return found


def _fields(row: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found = row.get("fields") or []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise _unexpected("items")
    return found


def _not_whole(row: Mapping[str, Any], why: str) -> ColibriError:
    if row.get("viewPassword") is False:
        return ColibriError(
            "source_forbidden", why, hint="let the account view passwords in this collection"
        )
    return ColibriError(
        "source_incomplete", why, hint="open it in the web vault; save it again or delete it"
    )


def _item(
    item_id: str,
    row: Mapping[str, Any],
    given: Mapping[str, Any],
    where: tuple[str, ...],
    gone: str,
) -> Item:
    kind = row.get("type")
    login = _object(given, "login")
    return Item(
        item_id,
        str(given.get("name") or ""),
        kind if isinstance(kind, int) else 0,
        where,
        _date(given.get("revisionDate") or row.get("revisionDate")),
        _secret(login.get("password")) if kind == LOGIN else None,
        _secret(given.get("notes")),
        len(_fields(given)),
        gone,
    )


def _date(value: Any) -> str:
    """Return the server's date: it stands in receipts and tables, so it is one, or nothing."""
    return value if isinstance(value, str) and _DATE.fullmatch(value) else ""


def _secret(value: Any) -> SecretValue | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise _unexpected("items")
    return SecretValue(value)


def _unexpected(what: str) -> ColibriError:
    return ColibriError(
        "source_incomplete",
        f"bw's answer about {what} is not of the shape it has",
        hint="run it again; colibri source doctor vaultwarden",
    )
