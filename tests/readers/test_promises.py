"""Every promised reader reads every rendered value back byte for byte, and executes none."""

from __future__ import annotations

import pytest

from tests.readers import corpus
from tests.readers.ask import READERS
from tests.readers.compare import differences, secrets
from tests.readers.promises import PROMISES
from tests.readers.room import room
from vault_svc.domain import dotenv

pytestmark = pytest.mark.reader
PAIRS = [(profile, reader) for profile, readers in PROMISES.items() for reader in readers]


def test_every_profile_has_its_readers() -> None:
    assert set(PROMISES) == set(dotenv.PROFILES)
    assert {reader for readers in PROMISES.values() for reader in readers} == set(READERS)


@pytest.mark.parametrize(("profile", "reader"), PAIRS)
def test_a_promised_reader_reads_what_was_written(profile, reader) -> None:
    if reason := READERS[reader].missing():
        pytest.skip(f"{reader}: {reason}")
    expected = corpus.variables(profile)
    data = dotenv.render(secrets(expected), profile)
    with room() as here:
        assert differences(here, reader, data, expected) == []
        assert here.canaries() == []


@pytest.mark.parametrize("profile", dotenv.PROFILES)
def test_the_corpus_is_large_and_the_same_each_time(profile) -> None:
    values = corpus.values(profile)
    assert values == corpus.values(profile)
    assert len(values) >= 400
    assert len(set(values)) > 350
    assert "" in values
    assert profile == "universal" or any("$(>CANARY)" in value for value in values)
    assert profile not in {"shell", "systemd"} or any("BEGIN" in value for value in values)
