"""For every profile: what renders reads back, what does not says nothing of the value."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vault_svc.domain import dotenv
from vault_svc.domain.dotenv_profiles import Rule
from vault_svc.domain.secret import SecretSet, SecretValue
from vault_svc.errors import ColibriError

PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
CHARS = (
    st.sampled_from(PUNCTUATION)
    | st.sampled_from("aZ09 \t\n\r\0\x1b\x7f")
    | st.sampled_from("é\u00a0\u0085\u2028\ufeff\U0001f600\ud800\udfff")
    | st.characters()
)
ANY = st.text(CHARS, max_size=40) | st.text(st.sampled_from("'\"\\$`{a"), max_size=12)
FITTING = {
    "universal": st.from_regex(r"[A-Za-z0-9%+,./:@_-][A-Za-z0-9%+,./:@_=-]*", fullmatch=True),
    "dotenv": st.text(st.sampled_from(PUNCTUATION + "aZ09 \t"), max_size=30),
    "shell": st.text(CHARS.filter(lambda c: c != "\0" and not "\ud800" <= c <= "\udfff")),
    "docker-raw": st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n")),
}
FITTING["systemd"] = FITTING["compose"] = FITTING["shell"]
NAMES = st.from_regex(r"[A-Z][A-Z0-9_]{0,6}", fullmatch=True).filter(
    lambda n: n not in {"PATH", "HOME", "SHELL", "IFS", "ENV", "PS4", "PWD", "UID", "EUID",
                        "PPID", "GROUPS", "SHLVL", "RANDOM", "LINENO", "SECONDS", "OPTIND",
                        "OLDPWD", "RUBYLIB", "RUBYOPT"}
    and not n.startswith(("LD_", "DYLD_", "PYTHON", "PERL5", "GIT_", "BW_", "VAULT_", "BAO_"))
)  # fmt: skip
PROFILES = pytest.mark.parametrize("profile", dotenv.PROFILES)


def secrets(values: dict[str, str]) -> SecretSet:
    return SecretSet("c", "1", {name: SecretValue(value) for name, value in values.items()})


@PROFILES
@given(data=st.data())
def test_what_renders_reads_back(profile, data) -> None:
    values = data.draw(st.dictionaries(NAMES, FITTING[profile] | ANY, max_size=6))
    try:
        rendered = dotenv.render(secrets(values), profile)
    except ColibriError as error:
        assert error.code == "secret_value_unrepresentable"
        return
    assert dotenv.parse(rendered, profile) == values
    assert rendered.endswith(b"\n")


@PROFILES
@given(data=st.data())
def test_most_fitting_values_do_render(profile, data) -> None:
    # Guards the property above against passing because everything is refused.
    value = data.draw(FITTING[profile])
    broken = dotenv.PROFILES[profile].broken("KEY", value)
    if profile in {"shell", "systemd", "docker-raw"}:
        assert broken is None
    if profile == "universal":
        assert broken is None or ":=" in value
    if profile == "compose":
        assert broken is None or "\r" in value or "`" in value
    if profile == "dotenv":
        assert broken in {None, Rule.BRACE, Rule.BACKSLASH, Rule.MIXED}


WORDS = "|".join(re.escape(rule) for rule in Rule)
LIST = "|".join(dotenv.PROFILES)
MESSAGE = re.compile(
    rf"profile '(?:{LIST})' cannot carry KEY: (?:{WORDS}) "
    rf"\((?:no profile can|profiles that can: (?:{LIST})(?:, (?:{LIST}))*)\)"
)
HINT = re.compile(
    rf"set the tenant's profile to (?:{LIST})(?: or (?:{LIST}))*, or change the values"
    r"|keep KEY in a file of its own, one file per secret, or as base64 under another name"
    r" such as KEY_B64"
)


@PROFILES
@given(value=ANY)
def test_a_refusal_is_made_of_fixed_words_only(profile, value) -> None:
    # Every refusal belongs to a finite set of sentences, so nothing of the value can be in it.
    try:
        dotenv.render(secrets({"KEY": value}), profile)
    except ColibriError as error:
        assert MESSAGE.fullmatch(error.message)
        assert HINT.fullmatch(error.hint)
        assert error.__context__ is None
        assert error.__cause__ is None


@PROFILES
@given(value=ANY)
def test_the_profiles_a_refusal_names_do_carry_the_value(profile, value) -> None:
    try:
        dotenv.render(secrets({"KEY": value}), profile)
    except ColibriError as error:
        named = set(re.findall(LIST, error.message.partition("profiles that can: ")[2]))
        for other in dotenv.PROFILES:
            try:
                dotenv.render(secrets({"KEY": value}), other)
            except ColibriError:
                assert other not in named
            else:
                assert other in named


@PROFILES
@given(data=st.data())
def test_rendering_is_injective(profile, data) -> None:
    sets = st.dictionaries(NAMES, FITTING[profile], max_size=4)
    one, two = data.draw(sets), data.draw(sets)
    try:
        first, second = (dotenv.render(secrets(values), profile) for values in (one, two))
    except ColibriError:
        assume(False)
    assert (first == second) == (one == two)


@PROFILES
@given(data=st.data())
def test_injective_near_misses(profile, data) -> None:
    # Values that differ by one piece of quoting are the ones an escape could merge.
    value = data.draw(st.text(st.sampled_from("'\"\\$`\na "), max_size=6))
    other = data.draw(st.text(st.sampled_from("'\"\\$`\na "), max_size=6))
    try:
        first = dotenv.render(secrets({"A": value, "B": "z"}), profile)
        second = dotenv.render(secrets({"A": other, "B": "z"}), profile)
    except ColibriError:
        return
    assert (first == second) == (value == other)


@PROFILES
@given(data=st.binary(max_size=60))
def test_strict_reading_accepts_only_what_writes_back(profile, data) -> None:
    header = dotenv.render(secrets({}), profile)
    try:
        values = dotenv.parse(header + data, profile)
    except ColibriError as error:
        assert error.code == "internal"
        return
    # Our grammar may be wider than the canonical style, never wider than what we can carry.
    for name, value in values.items():
        assert dotenv.PROFILES[profile].broken(name, value) is None
