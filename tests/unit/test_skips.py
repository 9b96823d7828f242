"""CI counts every skip, and fails for one that is not on the committed list (decision 26)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
SKIPPED = """
import pytest

def test_runs():
    pass

def test_skips():
    pytest.skip("no such thing here")

@pytest.mark.skip(reason="marked")
def test_marked():
    pass
"""
MODULE = """
import pytest

pytest.importorskip("a_module_that_nobody_has")

def test_never_collected():
    pass
"""
PLUGINS = ("-p", "xdist", "-p", "pytest_timeout")
LISTED = "tests/test_it.py::test_skips | a reason\ntests/test_it.py::test_marked | a reason\n"


@pytest.fixture
def project(tmp_path):
    """A project with our conftest and one test file; returns a function that runs it."""
    tests = tmp_path / "tests"
    tests.mkdir()
    shutil.copy(TESTS / "conftest.py", tests)
    shutil.copytree(TESTS / "kit", tests / "kit", ignore=shutil.ignore_patterns("__pycache__"))
    (tests / "__init__.py").touch()
    shutil.copy(TESTS.parent / "pyproject.toml", tmp_path)

    def run(source: str, listed: str, *options: str, enforced: str = "1") -> tuple[int, str]:
        (tests / "test_it.py").write_text(source)
        (tests / "allowed-skips.txt").write_text("# a comment\n" + listed)
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COLIBRI_"))}
        if enforced:
            environ["COLIBRI_TEST_SKIPS_ENFORCED"] = enforced
        environ |= {"PYTHONPATH": str(TESTS.parent), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *PLUGINS, *options],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return done.returncode, done.stdout + done.stderr

    return run


WAYS = pytest.mark.parametrize(
    "options",
    [
        (),
        pytest.param(("-n", "2"), marks=pytest.mark.full),
        ("-n", "2", "--dist", "loadgroup"),
    ],
)
FULL = """
import pytest

@pytest.mark.full
@pytest.mark.parametrize("way", range(3))
def test_combination(way):
    raise AssertionError("this was left to make full")

def test_runs():
    pass
"""


@WAYS
def test_what_is_left_to_make_full_is_counted_not_hidden(project, options):
    status, said = project(FULL, "", *options)
    assert status == 0, said
    assert "left to make full: 3" in said


@WAYS
def test_a_stray_skip_turns_the_run_red(project, options):
    status, said = project(SKIPPED, "", *options)
    assert status == 1, said
    assert "test_it.py::test_skips" in said
    assert "test_it.py::test_marked" in said
    assert re.search(r"skipped: 2\b", said)


@WAYS
def test_a_listed_skip_does_not(project, options):
    status, said = project(SKIPPED, LISTED, *options)
    assert status == 0, said
    assert re.search(r"skipped: 2\b", said)


@WAYS
def test_a_module_that_skips_itself_is_seen_as_well(project, options):
    """A missing package must not take a whole file out of CI."""
    status, said = project(MODULE + "\n", "", *options)
    assert status not in {0, 5}, said
    status, said = project(MODULE, "tests/test_it.py | a reason\n", *options)
    assert status in {0, 5}, said


def test_a_list_entry_covers_no_other_test_that_begins_alike(project):
    source = SKIPPED.replace("test_marked", "test_skips_more")
    status, said = project(source, "tests/test_it.py::test_skips | a reason\n")
    assert status == 1, said
    assert "test_skips_more" in said


def test_parameters_are_covered_by_a_star_only(project):
    source = """
import pytest

@pytest.mark.parametrize("n", [1, 2])
def test_skips(n):
    pytest.skip("no such thing here")
"""
    assert project(source, "tests/test_it.py::test_skips[*] | a reason\n")[0] == 0
    assert project(source, "tests/test_it.py::test_skips | a reason\n")[0] == 1
    assert project(source, "tests/test_it.py::test_skips[1] | a reason\n")[0] == 1


def test_a_group_changes_nothing(project):
    source = """
import pytest

@pytest.mark.xdist_group("some/group")
def test_skips():
    pytest.skip("no such thing here")
"""
    grouped = ("-n", "2", "--dist", "loadgroup")
    assert project(source, "tests/test_it.py::test_skips | a reason\n", *grouped)[0] == 0
    assert project(source, "tests/test_it.py::test_other | a reason\n", *grouped)[0] == 1


def test_an_entry_without_a_reason_is_refused(project):
    for without in ("", " | ", " |  "):
        status, said = project(SKIPPED, LISTED.replace(" | a reason", without))
        assert status == 1, said


def test_a_failure_stays_a_failure(project):
    status, said = project(SKIPPED + "\ndef test_fails():\n    raise ValueError\n", LISTED)
    assert status == 1, said


def test_without_ci_a_skip_is_only_counted(project):
    status, said = project(SKIPPED, "", enforced="")
    assert status == 0, said
    assert re.search(r"skipped: 2\b", said)


def _tests_in(path: Path) -> list[str]:
    """Names of the tests that a module defines, or takes whole from another."""
    text = path.read_text()
    taken = re.findall(r"^from (tests\.\S+) import \*", text, re.MULTILINE)
    more = [name for m in taken for name in _tests_in(TESTS.parent / (m.replace(".", "/") + ".py"))]
    return re.findall(r"^def (test_\w+)\(", text, re.MULTILINE) + more


def test_every_entry_of_our_own_list_has_a_reason_and_names_a_test():
    for line in (TESTS / "allowed-skips.txt").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        node, _, reason = line.partition(" | ")
        assert len(reason.split()) >= 3, line
        path, colons, name = node.partition("::")
        assert colons, f"a whole file is not excused: {line}"
        files = [file for file in TESTS.parent.glob(path) if file.is_file()]  # no __pycache__
        defined = {each for file in files for each in _tests_in(file)}
        begins = re.split(r"[*\[]", name)[0]
        assert any(each.startswith(begins) for each in defined), line
