"""Rendering by profile: what is written, what is refused and in which words."""

from __future__ import annotations

import random
import re

import pytest

from vault_svc.domain import dotenv
from vault_svc.domain.dotenv_profiles import (
    MAX_ASSIGNMENT_BYTES,
    MAX_RAW_LINE_BYTES,
    MAX_UNIVERSAL_VALUE_BYTES,
    Rule,
)
from vault_svc.domain.secret import SecretSet, SecretValue
from vault_svc.errors import ColibriError

HEADER = re.compile(rb"#[A-Za-z0-9 ,.:/_-]*")
NONE = "no profile can"


def secrets(values: dict[str, str]) -> SecretSet:
    return SecretSet("c", "1", {name: SecretValue(value) for name, value in values.items()})


def body(profile: str, **values: str) -> bytes:
    return dotenv.render(secrets(values), profile).split(b"\n", 1)[1]


def refusal(profile: str, values: dict[str, str]) -> ColibriError:
    with pytest.raises(ColibriError) as caught:
        dotenv.render(secrets(values), profile)
    return caught.value


WRITTEN = [
    ("universal", "", ""),
    ("universal", "sk-live_0:a/b+c@d.e,f%20=", "sk-live_0:a/b+c@d.e,f%20="),
    ("universal", "postgres://u:p%40ss@h/db", "postgres://u:p%40ss@h/db"),
    ("dotenv", "", ""),
    ("dotenv", "plain==", "plain=="),
    ("dotenv", "=first", "'=first'"),
    ("dotenv", "a:=b", "'a:=b'"),
    ("dotenv", " a #b\t", "' a #b\t'"),
    ("dotenv", '{"a": "$b"}', """'{"a": "$b"}'"""),
    ("dotenv", r"C:\new", r"'C:\new'"),
    ("dotenv", "it's", '''"it's"'''),
    ("shell", "", "''"),
    ("shell", "plain", "'plain'"),
    ("shell", "it's", r"'it'\''s'"),
    ("shell", "l1\nl2\r", "'l1\nl2\r'"),
    ("shell", "${x}`$(y)\\", "'${x}`$(y)\\'"),
    ("systemd", "", '""'),
    ("systemd", r"a\b", r'"a\\b"'),
    ("systemd", '"$`', r'"\"\$\`"'),
    ("systemd", "l1\n\tl2", '"l1\n\tl2"'),
    ("compose", "", "''"),
    ("compose", "$a`b", "'$a`b'"),
    ("compose", "it's $1", r'''"it's \$1"'''),
    ("compose", "end\\", r'"end\\"'),
    ("compose", "l1\nl2", "'l1\nl2'"),
    ("docker-raw", "", ""),
    ("docker-raw", " 'a' #\t$x\\", " 'a' #\t$x\\"),
    ("docker-raw", "naïve", "naïve"),
]


@pytest.mark.parametrize(("profile", "value", "written"), WRITTEN)
def test_a_value_is_written_exactly_so(profile, value, written) -> None:
    assert body(profile, KEY=value) == f"KEY={written}\n".encode()


REFUSED = [
    ("universal", "a b", Rule.BARE, "dotenv, shell, systemd, compose, docker-raw"),
    ("universal", "=a", Rule.BARE, "dotenv, shell, systemd, compose, docker-raw"),
    ("universal", "db?x=y", Rule.BARE, "dotenv, shell, systemd, compose, docker-raw"),
    ("universal", "a:=b", Rule.COLON_EQUALS, "dotenv, shell, systemd, compose, docker-raw"),
    ("universal", "l1\nl2", Rule.LINES, "shell, systemd, compose"),
    ("universal", "end\n", Rule.LINES, "shell, systemd, compose"),
    ("universal", "naïve", Rule.ASCII, "shell, systemd, compose, docker-raw"),
    ("universal", "a\rb", Rule.CR, "shell, systemd"),
    ("universal", "x" * (32 * 1024 + 1), Rule.UNIVERSAL_SIZE,
     "dotenv, shell, systemd, compose, docker-raw"),
    ("universal", "x" * 70_000, Rule.UNIVERSAL_SIZE, "dotenv, shell, systemd, compose"),
    ("dotenv", "a${b", Rule.BRACE, "shell, systemd, compose, docker-raw"),
    ("dotenv", "a\\\\b", Rule.BACKSLASH, "shell, systemd, compose, docker-raw"),
    ("dotenv", "a\\", Rule.BACKSLASH, "shell, systemd, compose, docker-raw"),
    ("dotenv", "'\"", Rule.MIXED, "shell, systemd, compose, docker-raw"),
    ("dotenv", "'$", Rule.MIXED, "shell, systemd, compose, docker-raw"),
    ("dotenv", "'\\x", Rule.MIXED, "shell, systemd, compose, docker-raw"),
    ("dotenv", "'`", Rule.MIXED, "shell, systemd, docker-raw"),
    ("dotenv", "l1\nl2", Rule.LINES, "shell, systemd, compose"),
    ("dotenv", "a\x7fb", Rule.ASCII, "shell, systemd, compose, docker-raw"),
    ("compose", "'`", Rule.BACKTICK, "shell, systemd, docker-raw"),
    ("compose", "`\\", Rule.BACKTICK, "shell, systemd, docker-raw"),
    ("compose", "a\rb", Rule.CR, "shell, systemd"),
    ("docker-raw", "l1\nl2", Rule.LINES, "shell, systemd, compose"),
    ("docker-raw", "a\rb", Rule.CR, "shell, systemd"),
    ("docker-raw", "é" * 32_600, Rule.RAW_SIZE, "shell, systemd, compose"),
]  # fmt: skip


@pytest.mark.parametrize(("profile", "value", "rule", "carriers"), REFUSED)
def test_a_value_outside_is_refused_with_the_rule_and_who_can(
    profile, value, rule, carriers
) -> None:
    error = refusal(profile, {"API_KEY": value})
    assert error.code == "secret_value_unrepresentable"
    assert error.message == (
        f"profile '{profile}' cannot carry API_KEY: {rule} (profiles that can: {carriers})"
    )
    assert error.hint == (
        f"set the tenant's profile to {carriers.replace(', ', ' or ')}, or change the values"
    )


@pytest.mark.parametrize("profile", dotenv.PROFILES)
@pytest.mark.parametrize(
    ("value", "rule"),
    [("a\0b", Rule.NUL), ("a\ud800b", Rule.UNICODE), ("x" * 131_000, Rule.SIZE)],
    ids=["nul", "surrogate", "size"],
)
def test_some_values_no_profile_carries(profile, value, rule) -> None:
    error = refusal(profile, {"API_KEY": value})
    assert error.message == f"profile '{profile}' cannot carry API_KEY: {rule} ({NONE})"
    assert error.hint == (
        "keep API_KEY in a file of its own, one file per secret, "
        "or as base64 under another name such as API_KEY_B64"
    )


@pytest.mark.parametrize(
    ("profile", "longest"),
    [
        ("universal", MAX_UNIVERSAL_VALUE_BYTES),
        ("docker-raw", MAX_RAW_LINE_BYTES - len("KEY=")),
        *((p, MAX_ASSIGNMENT_BYTES - len("KEY=")) for p in ("dotenv", "shell", "systemd")),
        ("compose", MAX_ASSIGNMENT_BYTES - len("KEY=")),
    ],
)
def test_the_longest_value_fits_and_one_byte_more_does_not(profile, longest) -> None:
    assert body(profile, KEY="x" * longest).count(b"x") == longest
    assert "longer" in refusal(profile, {"KEY": "x" * (longest + 1)}).message


def test_every_refused_variable_is_named_in_one_go() -> None:
    error = refusal("universal", {"A": "a b", "GOOD": "x", "B": "l1\nl2"})
    assert error.message == (
        f"profile 'universal' cannot carry A: {Rule.BARE} (profiles that can: dotenv, shell,"
        f" systemd, compose, docker-raw); B: {Rule.LINES} (profiles that can: shell, systemd,"
        " compose)"
    )
    assert error.hint == (
        "set the tenant's profile to shell or systemd or compose, or change the values"
    )


def test_a_long_list_of_refused_variables_is_bounded() -> None:
    error = refusal("universal", {f"KEY_{i:04}": "a b" for i in range(1000)})
    assert "KEY_0007" in error.message
    assert "KEY_0008" not in error.message
    assert error.message.endswith("; and 992 more")


def test_the_hint_names_only_profiles_that_carry_the_whole_set() -> None:
    # docker-raw and compose carry one of these each, shell and systemd both.
    error = refusal("dotenv", {"A": "'`", "B": "l1\nl2"})
    assert "A: " in error.message
    assert "compose" in error.message
    assert error.hint == "set the tenant's profile to shell or systemd, or change the values"


@pytest.mark.parametrize("profile", dotenv.PROFILES)
def test_the_header_is_one_constant_comment_every_reader_ignores(profile) -> None:
    first = dotenv.render(secrets({"A": "1"}), profile)
    other = dotenv.render(secrets({"B": "2", "C": "3"}), profile)
    header = first.split(b"\n", 1)[0]
    assert HEADER.fullmatch(header)
    assert profile.encode() in header
    assert b"=" not in header
    assert header == other.split(b"\n", 1)[0]
    assert sum(line.startswith(b"#") for line in other.split(b"\n")) == 1


def test_only_the_dotenv_header_warns_of_docker() -> None:
    rendered = {p: dotenv.render(secrets({"A": "1"}), p) for p in dotenv.PROFILES}
    assert [p for p, data in rendered.items() if b"not for docker" in data] == ["dotenv"]


@pytest.mark.parametrize("profile", dotenv.PROFILES)
def test_bytes_do_not_depend_on_the_order_of_values(profile) -> None:
    values = {f"{letter}_{i}": f"v{i}" for i in range(20) for letter in "BAXZ"}
    items = list(values.items())
    random.Random(7).shuffle(items)
    data = dotenv.render(secrets(values), profile)
    assert dotenv.render(secrets(dict(items)), profile) == data
    names = [line.split(b"=")[0] for line in data.splitlines()[1:]]
    assert names == sorted(names)
    assert data.endswith(b"\n")
    assert not data.endswith(b"\n\n")
    assert b"\r" not in data


def test_an_empty_set_is_the_header_alone() -> None:
    assert dotenv.render(secrets({}), "universal").count(b"\n") == 1


@pytest.mark.parametrize("name", ["PATH", "LD_PRELOAD", "PYTHONSTARTUP", "lower", "A-B", "1A", ""])
def test_names_are_checked_before_anything_is_written(name) -> None:
    with pytest.raises(ColibriError) as caught:
        dotenv.render(secrets({"A": "1", name: "hunter2hunter2"}), "shell")
    assert caught.value.code == "secret_name_refused"
    assert "hunter2" not in str(caught.value)


def test_policy_can_let_a_name_through() -> None:
    data = dotenv.render(
        secrets({"PYTHONUTF8": "1"}), "universal", allowed=frozenset({"PYTHONUTF8"})
    )
    assert data.endswith(b"\nPYTHONUTF8=1\n")


@pytest.mark.parametrize("ask", [dotenv.render, dotenv.warnings])
def test_an_unknown_profile_is_wrong_usage(ask) -> None:
    with pytest.raises(ColibriError) as caught:
        ask(secrets({"A": "1"}), "toml\x1b[2J")
    assert caught.value.code == "usage"
    assert "\x1b" not in caught.value.message
    assert caught.value.hint == "one of universal, dotenv, shell, systemd, compose, docker-raw"


WARNED = [
    ("dotenv", "a$b", "KEY: vite, next, bun and dotenv-expand expand a dollar sign"),
    ("dotenv", "encrypted:x", "KEY: dotenvx keeps values that begin with encrypted: for itself"),
    ("universal", "encrypted:x", "KEY: dotenvx keeps values that begin with encrypted: for itself"),
    ("docker-raw", "a b", "KEY: a shell that sources this file would execute its content"),
]


@pytest.mark.parametrize(("profile", "value", "line"), WARNED)
def test_what_other_readers_would_spoil_is_warned_of(profile, value, line) -> None:
    assert dotenv.warnings(secrets({"KEY": value, "PLAIN": "x"}), profile) == (line,)


@pytest.mark.parametrize("profile", dotenv.PROFILES)
def test_plain_values_warn_of_nothing(profile) -> None:
    assert dotenv.warnings(secrets({"KEY": "x", "EMPTY": ""}), profile) == ()


@pytest.mark.parametrize("profile", ["shell", "systemd", "compose"])
def test_profiles_with_their_own_reader_do_not_warn(profile) -> None:
    assert dotenv.warnings(secrets({"KEY": "a $b", "OTHER": "encrypted:x"}), profile) == ()


def test_a_writer_that_spoils_a_value_is_caught_before_the_bytes_leave(monkeypatch) -> None:
    # The positive control of the read-back: a renderer that forgets to escape.
    naive = dotenv.PROFILES["shell"].__class__(
        dotenv.PROFILES["shell"].header, lambda name, value: None, lambda value: f"'{value}'"
    )
    monkeypatch.setitem(dotenv.PROFILES, "shell", naive)
    with pytest.raises(ColibriError) as caught:
        dotenv.render(secrets({"KEY": "hunter2'\\''hunter2"}), "shell")
    assert caught.value.code == "internal"
    assert "hunter2" not in str(caught.value)
