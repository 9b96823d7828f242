"""The suites of engines, once more where systemd is the first process: there nspawn is one."""

from __future__ import annotations

import re

import pytest

from tests.kit import nest

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("nest")]


@pytest.fixture(scope="module")
def booted():
    with nest.booted() as made:
        yield made


def passed(output: str) -> int:
    found = re.search(r"(\d+) passed", output)
    return int(found.group(1)) if found else 0


def test_nspawn_keeps_every_promise_of_an_engine(booted):
    ran = booted.pytest("tests/contract/test_engine_contract.py", seconds=200)
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-500:]
    assert passed(ran.stdout) >= 40
    assert "skipped: 0" in ran.stdout
