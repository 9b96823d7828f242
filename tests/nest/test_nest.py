"""The suites of engines, once more where systemd is the first process: there nspawn is one."""

from __future__ import annotations

import os
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


def test_a_machine_starts_with_its_secrets_by_the_drop_in_alone_or_not_at_all(booted):
    ran = booted.pytest("tests/nest/dropin.py", seconds=200)
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-500:]
    assert passed(ran.stdout) == 7
    assert "skipped: 0" in ran.stdout


def test_tenant_that_is_root_in_a_machine_gets_nowhere_by_descriptors_flags_and_mounts(booted):
    ran = booted.pytest("tests/attack/test_container_rows.py", seconds=200)
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-500:]
    assert passed(ran.stdout) >= 18
    assert "skipped: 0" in ran.stdout


@pytest.mark.timeout(4000)
def test_tenant_that_is_root_in_a_machine_gets_nothing_out_of_it(booted, capfd, record_property):
    scale = os.environ.get("COLIBRI_TEST_RACE_SCALE", "1")
    ran = booted.pytest(
        "tests/attack/test_containers.py", seconds=3600, COLIBRI_TEST_RACE_SCALE=scale
    )
    with capfd.disabled():
        print(*(line for line in ran.stdout.splitlines() if line.startswith("race ")), sep="\n")
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-500:]
    assert passed(ran.stdout) >= 25
    assert "skipped: 0" in ran.stdout
    record_property("raced_attempts", int(re.search(r"raced attempts: (\d+)", ran.stdout).group(1)))
