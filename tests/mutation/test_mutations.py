"""Each rule, broken on purpose, turns a named test red (decision 22)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.mutation.runner import CHECKOUT, FAILED, PASSED, Copy, Mutation, Unusable
from tests.mutation.table import MUTATIONS

pytestmark = pytest.mark.mutation
FLOOR = 70


def _file(mutation: Mutation) -> str:
    return mutation.tests[0].partition("::")[0]


def _parameter(mutation: Mutation):
    # Mutations of one test file run on one worker: there its tests are proven sound afterwards.
    group = pytest.mark.xdist_group(f"mutation {_file(mutation)}")
    marks = [group, pytest.mark.root] if mutation.root else [group]
    return pytest.param(mutation, id=mutation.name, marks=marks)


@pytest.fixture(scope="session")
def copy(tmp_path_factory) -> Iterator[Copy]:
    made = Copy(tmp_path_factory.mktemp("mutated"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def seen() -> dict[str, set[str]]:
    """By the file a group of mutations is named for: what failed in them, whole names."""
    return {}


@pytest.mark.parametrize("mutation", [_parameter(m) for m in MUTATIONS])
def test_the_broken_rule_is_seen(mutation, copy, seen):
    seen.setdefault(_file(mutation), set()).update(copy.must_fail(mutation))


def _sound_parameters():
    for file in sorted({_file(m) for m in MUTATIONS}):
        yield pytest.param(file, marks=pytest.mark.xdist_group(f"mutation {file}"))


@pytest.mark.parametrize("file", list(_sound_parameters()))
def test_what_saw_it_passes_while_nothing_is_broken(file, copy, seen):
    """After the mutations of its group, on the same worker; alone it asks all that are named."""
    mine = [m for m in MUTATIONS if _file(m) == file and (os.geteuid() == 0 or not m.root)]
    named = {test for mutation in mine for test in mutation.tests}
    if not named:
        pytest.skip("needs root")
    copy.must_pass(sorted(seen.get(file) or named))


def test_there_are_enough_and_each_is_named_once():
    assert len(MUTATIONS) >= FLOOR
    assert len({m.name for m in MUTATIONS}) == len(MUTATIONS)
    assert all(m.why and m.tests for m in MUTATIONS)


def test_every_named_test_is_there():
    for mutation in MUTATIONS:
        for test in mutation.tests:
            file, _, name = test.partition("::")
            function = name.partition("[")[0]
            defined = re.search(rf"^def {function}\(", (CHECKOUT / file).read_text(), re.MULTILINE)
            assert defined, (mutation.name, test)


HARMLESS = Mutation(
    "nothing is broken",
    "vault_svc/domain/paths.py",
    "MAX_COMPONENTS: Final = 64",
    "MAX_COMPONENTS: Final = 32 + 32",
    ("tests/unit/test_paths.py::test_paths_refused_before_any_system_call",),
    "the control",
)


def test_a_mutation_nobody_sees_is_reported(copy):
    with pytest.raises(Unusable, match="survived"):
        copy.must_fail(HARMLESS)


def test_a_mutation_that_only_breaks_the_import_is_no_proof(copy):
    with pytest.raises(Unusable, match="status"):
        copy.must_fail(replace(HARMLESS, new="MAX_COMPONENTS: Final = ("))


@pytest.mark.parametrize("old", ["this text is not there", "text"])
def test_a_table_that_has_rotted_is_reported(copy, old):
    with pytest.raises(Unusable, match="times"), copy.mutated(replace(HARMLESS, old=old)):
        pass


def test_the_copy_is_whole_again_afterwards(copy):
    file = copy.tree / HARMLESS.file
    with copy.mutated(HARMLESS):
        assert HARMLESS.new in file.read_text()
    assert file.read_bytes() == (CHECKOUT / HARMLESS.file).read_bytes()


def test_code_from_outside_the_copy_is_no_verdict(copy):
    """The guard: an editable install must not be what is tested."""
    moved = Mutation(
        "the copy is elsewhere",
        "tests/mutation/guard.py",
        'Path(os.environ["COLIBRI_MUTATED_TREE"])',
        'Path("/somewhere/else")',
        HARMLESS.tests,
        "the control",
    )
    with copy.mutated(moved):
        status, said = copy.run(HARMLESS.tests)
    assert status not in {PASSED, FAILED}
    assert "from outside the copy" in said
