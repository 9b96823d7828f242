"""What the command says when it is called wrongly, or fails where nobody expected it."""

from __future__ import annotations

import json
import sys

import pytest

from cli import app, session
from vault_svc.domain.secret import SecretValue

TYPED = "Xq7-typed-in-haste-93"


@pytest.fixture
def colibri(monkeypatch, capsys, tmp_path):
    """Run the command in this process; return status, stdout, stderr."""
    monkeypatch.setenv("COLIBRI_DAEMON_DATA_DIR", str(tmp_path))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["colibri", *arguments])
        with pytest.raises(SystemExit) as ended:
            app.main()
        captured = capsys.readouterr()
        return ended.value.code, captured.out, captured.err

    return run


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("list-tenants", "--limit", "many"),
        ("show-tenant",),
        ("provision", "--bogus"),
        ("provision",),
    ],
)
def test_a_wrong_call_is_one_line_and_status_2(colibri, arguments):
    status, out, err = colibri(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("colibri: usage: ")
    assert err.count("\n") == 1
    status, out, _ = colibri(*arguments, "--json")
    assert status == 2
    assert json.loads(out)["error"]["code"] == "usage"


@pytest.mark.parametrize("group", [(), ("secret",), ("key", "rotate")])
def test_a_group_without_a_command_shows_its_help(colibri, group):
    status, out, err = colibri(*group)
    assert (status, out) == (2, "")
    assert err.startswith("Usage: ")
    assert "Commands:" in err.splitlines()


@pytest.mark.parametrize(
    "arguments",
    [
        ("secret", "set", "acme", "API_KEY", TYPED),
        ("secret", "set", "acme", f"API_KEY={TYPED}"),
        ("secret", "unset", "acme", f"API_KEY={TYPED}"),
        ("secret", "set", "acme", "API_KEY", f"--value={TYPED}"),
        ("secret", "import", "acme", "x.env", TYPED),
        ("secret", "import", "acme", f"API_KEY={TYPED}"),
    ],
)
def test_a_value_typed_as_an_argument_is_not_repeated(colibri, arguments, monkeypatch):
    """The shell's history has it already; no log of stderr shall have it too."""
    monkeypatch.setattr("cli.prompt.value_from", lambda *_: SecretValue("x"))
    for extra in ((), ("--json",)):
        status, out, err = colibri(*arguments, *extra)
        assert status in {2, 5}
        assert TYPED not in out + err


class Panic(BaseException):
    """As pyo3's PanicException, which is no Exception."""


@pytest.mark.parametrize("kind", [RuntimeError, Panic, RecursionError])
@pytest.mark.parametrize("flags", [(), ("--json",), ("--verbose",)])
def test_a_fault_is_told_by_type_and_place_only(colibri, monkeypatch, kind, flags):
    def load(*_):
        held = TYPED
        raise kind(held)

    monkeypatch.setattr(session.Session, "settings", property(load))
    before = [flag for flag in flags if flag == "--verbose"]
    after = [flag for flag in flags if flag == "--json"]
    status, out, err = colibri(*before, "list-tenants", *after)
    assert status == 1
    assert f"colibri: internal: {kind.__name__} at test_cli_errors.py:" in err
    assert TYPED not in out + err


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_no_memory_is_busy_and_keeps_its_words(colibri, monkeypatch, flags):
    def load(*_):
        raise MemoryError(TYPED)

    monkeypatch.setattr(session.Session, "settings", property(load))
    status, out, err = colibri("list-tenants", *flags)
    assert status == 10
    assert "colibri: busy: " in err
    assert TYPED not in out + err
