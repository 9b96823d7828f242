"""The harness has eyes (decision 22): wrong styles are seen, and the limits are real.

Every value here acts, if it is executed, by redirection alone; none names a command.
"""

from __future__ import annotations

import os

import pytest

from tests.readers.ask import READERS, ReaderError
from tests.readers.compare import differences
from tests.readers.promises import PROMISES
from tests.readers.room import NOBODY, Limits, room
from vault_svc.domain import dotenv
from vault_svc.domain.dotenv_profiles import Rule

pytestmark = pytest.mark.reader
BEFORE, AFTER = b"A_SENTINEL=z9\n", b"Z_SENTINEL=z9\n"

# reader, value, how a naive writer would put it, and what the harness must say.
SPOILED = [
    ("docker", "Q X", b"V='Q X'\n", "V: 'Q X' became b\"'Q X'\""),
    ("docker", "Q\nX=Z", b"V=Q\nX=Z\n", "X: new"),
    ("podman", "Q X", b"V='Q X'\n", "V: 'Q X' became b\"'Q X'\""),
    ("podman", "Q\nX=Z", b"V=Q\nX=Z\n", "X: new"),
    ("compose", "$Q", b"V=$Q\n", "V: '$Q' became b''"),
    ("compose-raw", "Q X", b"V='Q X'\n", "V: 'Q X' became b\"'Q X'\""),
    ("dash", "~", b"V=~\n", "V: '~' became b'/"),
    ("bash", "Q\\", b"V=Q\\\n", "Z_SENTINEL: lost, was 'z9'"),
    ("zsh", "Q:=X", b"V=Q:=X\n", "V: lost, was 'Q:=X'"),
    ("python-dotenv", "${A_SENTINEL}", b"V='${A_SENTINEL}'\n", "V: '${A_SENTINEL}' became b'z9'"),
    ("python-dotenv", "$Q", b'V="\\$Q"\n', "V: '$Q' became b'\\\\$Q'"),
    ("pydantic-settings", "Q\\\\X", b"V='Q\\\\X'\n", "V: 'Q\\\\\\\\X' became b'Q\\\\X'"),
    ("node-dotenv-16", "Q#X", b"V=Q#X\n", "V: 'Q#X' became b'Q'"),
    ("node-dotenv-18", "Q#X", b"V=Q#X\n", "V: 'Q#X' became b'Q'"),
    ("node-env-file", "Q'X", b"V='Q'X'\n", "V: \"Q'X\" became b'Q'"),
    ("ruby-dotenv", "$A_SENTINEL", b"V=$A_SENTINEL\n", "V: '$A_SENTINEL' became b'z9'"),
    ("direnv", "Q X", b"V=Q X\n", "failed: status 1"),
    ("systemd", "Q\\", b"V=Q\\\n", "Z_SENTINEL: lost, was 'z9'"),
    ("bash-posix", "Q'X", b"V='Q'X'\n", "V: lost, was"),
    ("busybox-sh", '"Q"', b'V="Q"\n', "V: '\"Q\"' became b'Q'"),
    ("ksh93", "$Q", b"V=$Q\n", "V: '$Q' became b''"),
    ("mksh", "Q\\X", b"V=Q\\X\n", "V: 'Q\\\\X' became b'QX'"),
]


@pytest.mark.parametrize(("reader", "value", "line", "said"), SPOILED)
def test_a_wrong_style_is_seen(reader, value, line, said) -> None:
    if reason := READERS[reader].missing():
        pytest.skip(f"{reader}: {reason}")
    expected = {"A_SENTINEL": "z9", "V": value, "Z_SENTINEL": "z9"}
    with room() as here:
        found = differences(here, reader, BEFORE + line + AFTER, expected)
        assert any(text.startswith(said) for text in found), found


EXECUTED = [
    ("dash", b"V=Q >CANARY\n"),
    ("bash", b"V=Q;>CANARY\n"),
    ("bash-posix", b'V="$(>CANARY)"\n'),
    ("busybox-sh", b"V=`>CANARY`\n"),
    ("zsh", b"V=Q&>CANARY\n"),
    ("ksh93", b"V=Q\n>CANARY\n"),
    ("mksh", b"V=Q;>CANARY\n"),
]


@pytest.mark.parametrize(("reader", "line"), EXECUTED)
def test_an_executed_value_leaves_its_canary(reader, line) -> None:
    if reason := READERS[reader].missing():
        pytest.skip(f"{reader}: {reason}")
    with room() as here:
        differences(here, reader, BEFORE + line + AFTER, {})
        assert here.canaries() == ["CANARY"]


# A value each rule refuses, and a promised reader that would spoil it if the rule were not there.
NEEDED = [
    (Rule.BARE, "universal", "Q X", "dash"),
    (Rule.BARE, "universal", "=Q", "zsh"),
    (Rule.BARE, "universal", "Q#X", "node-env-file"),
    (Rule.BARE, "universal", "Q\\", "systemd"),
    (Rule.COLON_EQUALS, "universal", "Q:=X", "zsh"),
    (Rule.LINES, "universal", "Q\nX=Z", "docker"),
    (Rule.ASCII, "universal", "\u2028Q", "python-dotenv"),
    (Rule.BRACE, "dotenv", "${A_SENTINEL}", "python-dotenv"),
    (Rule.BRACE, "dotenv", "${A_SENTINEL}", "pydantic-settings"),
    (Rule.BACKSLASH, "dotenv", "Q\\\\X", "python-dotenv"),
    (Rule.BACKSLASH, "dotenv", "Q\\", "python-dotenv"),
    (Rule.MIXED, "dotenv", "'\"", "node-env-file"),
    (Rule.MIXED, "dotenv", "'$A_SENTINEL", "bash"),
    (Rule.MIXED, "dotenv", "'\\\\", "dash"),
    (Rule.MIXED, "dotenv", "'`>CANARY`", "dash"),
    (Rule.LINES, "dotenv", "Q\nX=Z", "direnv"),
    (Rule.CR, "dotenv", "Q\rX", "node-dotenv-16"),
    (Rule.LINES, "docker-raw", "Q\nX=Z", "docker"),
    (Rule.CR, "docker-raw", "Q\r", "docker"),
    (Rule.RAW_SIZE, "docker-raw", "Q" * 66_000, "docker"),
    (Rule.SIZE, "shell", "Q" * 131_100, "bash"),
]


@pytest.mark.parametrize(("rule", "profile", "value", "reader"), NEEDED)
def test_without_the_rule_a_promised_reader_differs(rule, profile, value, reader) -> None:
    if reason := READERS[reader].missing():
        pytest.skip(f"{reader}: {reason}")
    chosen = dotenv.PROFILES[profile]
    assert reader in PROMISES[profile]
    assert chosen.broken("V", value) == rule
    expected = {"A_SENTINEL": "z9", "V": value, "Z_SENTINEL": "z9"}
    lines = [chosen.header, *(f"{name}={chosen.write(text)}" for name, text in expected.items())]
    with room() as here:
        assert differences(here, reader, ("\n".join(lines) + "\n").encode(), expected)


def test_readers_run_without_our_rights() -> None:
    with room() as here:
        said = here.run(["/usr/bin/id", "-u"]).stdout
    assert int(said) == (NOBODY if os.geteuid() == 0 else os.geteuid())


@pytest.mark.root
def test_python_readers_drop_their_rights_themselves(tmp_path) -> None:
    # The file may be read by root only: who still is root would read it.
    with room() as here:
        secret = here.put("secret.env", b"A=1\n")
        secret.chmod(0o600)
        for reader in ("python-dotenv", "pydantic-settings", "systemd"):
            if READERS[reader].missing():
                continue
            with pytest.raises(ReaderError, match="status 1"):
                READERS[reader].read(here, secret, ("A",))


LOOP = "while :; do :; done"
GROW = "a=QXQXQXQX; while :; do a=$a$a; done"
FLOOD = "while :; do echo QXQXQXQXQXQXQXQXQXQXQXQXQXQXQXQXQX; done"


def test_a_reader_that_never_ends_is_ended() -> None:
    with room() as here:
        by_clock = here.run(["/bin/dash", "-c", LOOP], limits=Limits(wall_seconds=1))
        by_cpu = here.run(["/bin/dash", "-c", LOOP], limits=Limits(cpu_seconds=1))
    assert by_clock.timed_out
    assert by_cpu.status < 0
    assert not by_cpu.timed_out


def test_a_reader_that_eats_memory_is_stopped() -> None:
    with room() as here:
        outcome = here.run(["/bin/dash", "-c", GROW], limits=Limits(address_bytes=64 * 1024**2))
    assert outcome.status != 0
    assert not outcome.timed_out


def test_a_reader_that_says_too_much_is_stopped() -> None:
    with room() as here:
        outcome = here.run(["/bin/dash", "-c", FLOOD], limits=Limits(file_bytes=100_000))
    assert outcome.status != 0
    assert len(outcome.stdout) <= 100_000


def test_a_reader_cannot_start_processes_without_end() -> None:
    # Each level waits in a subshell of its own, so the depth is the number of processes.
    code = "f() { (f); exit 3; }; f"
    with room() as here:
        outcome = here.run(["/bin/dash", "-c", code], limits=Limits(processes=20))
    assert outcome.status != 0
    assert b"ork" in outcome.stderr
