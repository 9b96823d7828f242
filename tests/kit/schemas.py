"""The shipped JSON Schemas, as validators, and every way to spoil a document by one step."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

OPEN = "detail"


@cache
def schemas() -> dict[str, dict[str, Any]]:
    """Return each schema by its title, colibri.<command>/1, as the installed package has it."""
    found = {}
    for path in files("vault_svc").joinpath("schemas").iterdir():
        schema = json.loads(path.read_text("utf-8"))
        assert path.name == schema["title"].replace("/1", ".json")
        found[schema["title"]] = schema
    return found


@cache
def _registry() -> Registry[Any]:
    resources = (Resource.from_contents(schema) for schema in schemas().values())
    return Registry().with_resources((r.id(), r) for r in resources if r.id())


def complaints(document: Any) -> list[str]:
    """Return what is wrong with a document by the schema it names."""
    title = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(title, str) or title not in schemas():
        return [f"names no schema: {title!r}"]
    validator = Draft202012Validator(schemas()[title], registry=_registry())
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def spoiled(document: Any) -> Iterator[tuple[str, Any]]:
    """Yield the document with one member lost, one too many, or one of another type."""
    for path, value in _places(document, ()):
        if path:
            other = [] if isinstance(value, dict) else {"of": "another type"}
            yield f"another type at {path}", _edited(document, path, value=other)
        if isinstance(value, dict) and path[-1:] != (OPEN,):
            yield f"one more in {path}", _edited(document, (*path, "surplus"), value=1)
        if path and isinstance(path[-1], str):
            yield f"without {path}", _edited(document, path)


def _places(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    yield path, value
    if path[-1:] == (OPEN,):  # open: an audit line's detail differs from event to event
        return
    children: Any = ()
    if isinstance(value, dict):
        children = value.items()
    elif isinstance(value, list):
        children = enumerate(value)
    for key, child in children:
        yield from _places(child, (*path, key))


_LOST = object()


def _edited(document: Any, path: tuple[Any, ...], value: Any = _LOST) -> Any:
    edited = copy.deepcopy(document)
    holder = edited
    for key in path[:-1]:
        holder = holder[key]
    if value is _LOST:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return edited
