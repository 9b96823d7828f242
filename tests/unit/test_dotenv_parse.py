"""The strict reader of our own files refuses everything the grammar does not have."""

from __future__ import annotations

import pytest

from vault_svc.domain import dotenv
from vault_svc.errors import ColibriError

H = b"# h\n"

REFUSED = [
    ("universal", b"", "line 1: no final line feed"),
    ("universal", b"\n", "line 1: no header"),
    ("universal", b"K=v\n", "line 1: no header"),
    ("universal", b"\xef\xbb\xbf# h\nK=v\n", "line 1: no header"),
    ("universal", b"# $h\nK=v\n", "line 1: no header"),
    ("universal", H + b"K=v", "line 2: no final line feed"),
    ("universal", H + b"K=\xff\n", "the file is not UTF-8"),
    ("universal", H + b"K=v\n\n", "line 3: no assignment, or out of order"),
    ("universal", H + b"K=v\n# more\n", "line 3: no assignment, or out of order"),
    ("universal", H + b"B=v\nA=v\n", "line 3: no assignment, or out of order"),
    ("universal", H + b"A=v\nA=v\n", "line 3: no assignment, or out of order"),
    ("universal", H + b" A=v\n", "line 2: no assignment, or out of order"),
    ("universal", H + b"export A=v\n", "line 2: no assignment, or out of order"),
    ("universal", H + b"A =v\n", "line 2: no assignment, or out of order"),
    ("universal", H + b"a=v\n", "line 2: no assignment, or out of order"),
    ("universal", H + b"A=v\nB='x'\n", "line 3: not a value of profile universal"),
    ("universal", H + b"A=a b\n", "line 2: not a value of profile universal"),
    ("universal", H + b"A=v\r\n", "line 2: not a value of profile universal"),
    ("universal", H + b"A=a:=b\n", "line 2: not a value of profile universal"),
    ("universal", H + b"A=:=\n", "line 2: not a value of profile universal"),
    ("universal", H + b"A==\n", "line 2: not a value of profile universal"),
    ("dotenv", H + b"A='v' # note\n", "line 2: not a value of profile dotenv"),
    ("dotenv", H + b"A='it's'\n", "line 2: not a value of profile dotenv"),
    ("dotenv", H + b"A='a\\'\n", "line 2: not a value of profile dotenv"),
    ("dotenv", H + b"A='a\\\\b'\n", "line 2: not a value of profile dotenv"),
    ("dotenv", H + b"A='${b}'\n", "line 2: not a value of profile dotenv"),
    ("dotenv", H + b"A='l1\nl2'\n", "line 2: not a value of profile dotenv"),
    ("dotenv", H + b'A="$b"\n', "line 2: not a value of profile dotenv"),
    ("dotenv", H + b'A="`"\n', "line 2: not a value of profile dotenv"),
    ("dotenv", H + b'A="\\n"\n', "line 2: not a value of profile dotenv"),
    ("shell", H + b"A=v\n", "line 2: not a value of profile shell"),
    ("shell", H + b'A="v"\n', "line 2: not a value of profile shell"),
    ("shell", H + b"A='a'b'\n", "line 2: not a value of profile shell"),
    ("shell", H + b"A='l1\nl2'\nB='\n", "line 4: not a value of profile shell"),
    ("shell", H + b"A='a'; B='b'\n", "line 2: not a value of profile shell"),
    ("shell", H + b"A='\0'\n", "line 2: not a value of profile shell"),
    ("systemd", H + b'A="$b"\n', "line 2: not a value of profile systemd"),
    ("systemd", H + b'A="\\n"\n', "line 2: not a value of profile systemd"),
    ("systemd", H + b'A="a"b"\n', "line 2: not a value of profile systemd"),
    ("compose", H + b"A='a\\'\n", "line 2: not a value of profile compose"),
    ("compose", H + b"A='a\r'\n", "line 2: not a value of profile compose"),
    ("compose", H + b'A="a`"\n', "line 2: not a value of profile compose"),
    ("docker-raw", H + b"A=a\rb\n", "line 2: not a value of profile docker-raw"),
    ("docker-raw", H + b"A=a\nb\n", "line 3: no assignment, or out of order"),
]


@pytest.mark.parametrize(("profile", "data", "message"), REFUSED)
def test_foreign_text_is_refused_with_its_line(profile, data, message) -> None:
    with pytest.raises(ColibriError) as caught:
        dotenv.parse(data, profile)
    assert caught.value.code == "internal"
    assert caught.value.message == message


def test_a_refusal_keeps_the_text_out_of_its_traceback() -> None:
    with pytest.raises(ColibriError) as caught:
        dotenv.parse(H + b"A=hunter2\xff\n", "universal")
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


READ = [
    ("universal", b"A=\nB=x==\n", {"A": "", "B": "x=="}),
    ("dotenv", b"A=x\nB='$ \"'\nC=\"it's\"\n", {"A": "x", "B": '$ "', "C": "it's"}),
    ("shell", b"A=''\nB='\\'\\''\\'\n", {"A": "", "B": "\\'\\"}),
    ("shell", b"A='x\nB='\\''y'\\'''\nC='z'\n", {"A": "x\nB='y'", "C": "z"}),
    ("systemd", b'A="\\\\\\"\\$\\`\n"\n', {"A": '\\"$`\n'}),
    ("compose", b"A='\\\\x'\nB=\"\\\\\"\n", {"A": "\\\\x", "B": "\\"}),
    ("docker-raw", b"A= 'x' # \nB=\n", {"A": " 'x' # ", "B": ""}),
]


@pytest.mark.parametrize(("profile", "data", "values"), READ)
def test_our_grammar_is_read(profile, data, values) -> None:
    assert dotenv.parse(H + data, profile) == values
