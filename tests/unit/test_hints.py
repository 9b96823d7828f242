"""Every error a person can meet says what to do."""

from __future__ import annotations

import ast
from pathlib import Path

from vault_svc.errors import CODES, HINTS, ColibriError

ROOT = Path(__file__).resolve().parents[2]
MAKERS = {"ColibriError", "ReportedError"}


def _calls():
    for folder in ("vault_svc", "cli"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                name = getattr(getattr(node, "func", None), "id", None) or getattr(
                    getattr(node, "func", None), "attr", None
                )
                if isinstance(node, ast.Call) and name in MAKERS:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def test_no_error_is_raised_without_a_hint() -> None:
    seen, bare = 0, []
    for where, call in _calls():
        seen += 1
        if any(keyword.arg == "hint" for keyword in call.keywords):
            continue
        code = call.args[0]
        # A code that is chosen at run time is one of the fallbacks: explain() of hostfiles.
        if isinstance(code, ast.Constant) and code.value not in HINTS:
            bare.append(where)
    assert bare == []
    assert seen > 80


def test_hint_at_hand_goes_before_the_general_one() -> None:
    assert ColibriError("busy", "x", hint="wait for it").hint == "wait for it"
    assert ColibriError("busy", "x").hint == HINTS["busy"]
    assert HINTS.keys() <= CODES.keys()
