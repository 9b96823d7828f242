"""Text people wrote is read where readers agree, and refused by line where they do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault_svc.domain.dotenv import parse_import
from vault_svc.domain.dotenv_import import MAX_IMPORT_BYTES
from vault_svc.errors import ColibriError

READ = [
    (b"", {}),
    (b"\n\n# note\n  # indented note = 'x\n", {}),
    (b"A=1\nB=2", {"A": "1", "B": "2"}),
    (b"B=2\r\nA=1\r\n", {"B": "2", "A": "1"}),
    (b"export A=1\nexport\tB=2\n  C=3\n", {"A": "1", "B": "2", "C": "3"}),
    (b"A=\nB=''\nC=\"\"\n", {"A": "", "B": "", "C": ""}),
    (b"A=x=y==\n", {"A": "x=y=="}),
    (b"A=hello world\n", {"A": "hello world"}),
    (b"A=pa#ss\n", {"A": "pa#ss"}),
    (b"A=' x # $y `z` \"\\n '  \n", {"A": ' x # $y `z` "\\n '}),
    (b'A="l1\\nl2 \\"q\\" \\\\ \\$x \\` # \'"\n', {"A": 'l1\nl2 "q" \\ $x ` # \''}),
    ("A=naïve\n".encode(), {"A": "naïve"}),
    (b"PASS=a:b;c&d|e<f>(g)*?!~^{}[]\n", {"PASS": "a:b;c&d|e<f>(g)*?!~^{}[]"}),
]


@pytest.mark.parametrize(("data", "values"), READ)
def test_clear_text_is_read_in_its_order(data, values) -> None:
    assert list(parse_import(data).items()) == list(values.items())


UNCLEAR = "readers do not agree about its value"
REFUSED = [
    (b"A=1\nnonsense\n", "usage", "line 2: it has no ="),
    (b"A=1\nexport B\n", "usage", "line 2: it has no ="),
    (b"\xef\xbb\xbfA=1\n", "usage", "line 1: it begins with a byte order mark"),
    (b"A=\xff\n", "usage", "the text is not UTF-8"),
    (b"A=1\nB=x\ry\n", "usage", "line 2: it has a control character"),
    (b"A=x\0y\n", "usage", "line 1: it has a control character"),
    (b"A=x\x1b[2J\n", "usage", "line 1: it has a control character"),
    (b"A=value # note\n", "usage", f"line 1: {UNCLEAR}"),
    (b"A=value\t# note\n", "usage", f"line 1: {UNCLEAR}"),
    (b"A=# note\n", "usage", f"line 1: {UNCLEAR}"),
    (b"A= value\n", "usage", f"line 1: {UNCLEAR}"),
    (b"A=value \n", "usage", f"line 1: {UNCLEAR}"),
    (b"A='value\n", "usage", f"line 1: {UNCLEAR}"),
    (b"A=value'\n", "usage", f"line 1: {UNCLEAR}"),
    (b"A='it'\\''s'\n", "usage", f"line 1: {UNCLEAR}"),
    (b"A='value' # note\n", "usage", f"line 1: {UNCLEAR}"),
    (b'A="value\n', "usage", f"line 1: {UNCLEAR}"),
    (b'A="value\\"\n', "usage", f"line 1: {UNCLEAR}"),
    (b'A="$HOME"\n', "usage", f"line 1: {UNCLEAR}"),
    (b'A="a\\tb"\n', "usage", f"line 1: {UNCLEAR}"),
    (b"A=$HOME\n", "usage", f"line 1: {UNCLEAR}"),
    (b"A=a\\b\n", "usage", f"line 1: {UNCLEAR}"),
    (b"A=`x`\n", "usage", f"line 1: {UNCLEAR}"),
    (b"A=1\nb=2\n", "secret_name_refused", "line 2: what stands before ="),
    (b"A =2\n", "secret_name_refused", "line 1: what stands before ="),
    (b"=2\n", "secret_name_refused", "line 1: what stands before ="),
    (b"exportA=2\n", "secret_name_refused", "line 1: what stands before ="),
    (b"__=2\n", "secret_name_refused", "line 1: '__' is not a variable name"),
    (b"A=1\nPATH=/x\n", "secret_name_refused", "line 2: 'PATH' changes how a program starts"),
    (b"A=1\nB=2\nA=1\n", "secret_ambiguous", "'A' stands in line 1 and in line 3"),
]


@pytest.mark.parametrize(("data", "code", "message"), REFUSED)
def test_unclear_text_is_refused_with_its_line(data, code, message) -> None:
    with pytest.raises(ColibriError) as caught:
        parse_import(data)
    assert caught.value.code == code
    assert caught.value.message.startswith(message)


def test_policy_can_let_a_name_through() -> None:
    assert parse_import(b"PATH=/x\n", allowed=frozenset({"PATH"})) == {"PATH": "/x"}


def test_the_text_is_bounded() -> None:
    line = b"A=" + b"x" * (MAX_IMPORT_BYTES - 2)
    assert len(parse_import(line)["A"]) == MAX_IMPORT_BYTES - 2
    with pytest.raises(ColibriError, match="longer than"):
        parse_import(line + b"x")


@pytest.mark.parametrize(
    "data",
    [
        b"KEY='-----BEGIN\nMIIEhunter2secretsecret==\n",
        b"my password is hunter2secretsecret\n",
        b"hunter2secretsecret = x\n",
        b"A=hunter2secretsecret\\\n",
        b"A=hunter2secretsecret\xff\n",
    ],
)
def test_a_piece_of_a_secret_is_never_shown(data) -> None:
    with pytest.raises(ColibriError) as caught:
        parse_import(data)
    assert "hunter2" not in caught.value.line()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@given(st.text(st.characters(codec="utf-8", exclude_characters="'\n\r"), max_size=60))
def test_single_quotes_are_literal(value) -> None:
    try:
        assert parse_import(f"A='{value}'\nB=z\n".encode()) == {"A": value, "B": "z"}
    except ColibriError as error:
        assert error.message == "line 1: it has a control character"
        assert any(ord(c) < 0x20 or ord(c) == 0x7F for c in value)


@given(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]) | st.just("\n"), max_size=60)
)
def test_double_quotes_carry_every_escape(value) -> None:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    escaped = escaped.replace("`", "\\`").replace("\n", "\\n")
    assert parse_import(f'A="{escaped}"\nB=z\n'.encode()) == {"A": value, "B": "z"}


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(data) -> None:
    try:
        values = parse_import(data)
    except ColibriError as error:
        assert error.code in {"usage", "secret_name_refused", "secret_ambiguous"}
    else:
        assert all(isinstance(value, str) for value in values.values())
