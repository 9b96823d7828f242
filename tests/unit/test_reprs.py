"""No value object shows bytes or secrets in its repr: bytes may be a delivered file."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil

import vault_svc

# Lines of the audit log, which hold no value.
PUBLIC = {"vault_svc.adapters.audit.chain.Line", "vault_svc.adapters.audit.segments.End"}


def dataclasses_of_the_product():
    for found in pkgutil.walk_packages(vault_svc.__path__, "vault_svc."):
        if ".migrations." in found.name:
            continue
        module = importlib.import_module(found.name)
        for kind in vars(module).values():
            mine = inspect.isclass(kind) and kind.__module__ == found.name
            if mine and dataclasses.is_dataclass(kind):
                yield kind


def shown_bytes(kind) -> list[str]:
    if not kind.__dataclass_params__.repr:
        return []
    return [f.name for f in dataclasses.fields(kind) if f.repr and "bytes" in str(f.type)]


def test_no_dataclass_shows_bytes():
    shown = {
        f"{kind.__module__}.{kind.__qualname__}": names
        for kind in dataclasses_of_the_product()
        if (names := shown_bytes(kind))
    }
    assert {name: fields for name, fields in shown.items() if name not in PUBLIC} == {}


def test_there_are_dataclasses_to_look_at_and_a_planted_one_is_seen():
    assert len(list(dataclasses_of_the_product())) > 30
    planted = dataclasses.make_dataclass("Planted", [("content", "bytes | None")])
    assert shown_bytes(planted) == ["content"]
