"""Each rule, broken on purpose, turns a named test red (decision 22)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.mutation.runner import CHECKOUT, FAILED, PASSED, Copy, Mutation, Unusable
from tests.mutation.table import MUTATIONS

pytestmark = pytest.mark.mutation
FLOOR = 70


def _file(mutation: Mutation) -> str:
    return mutation.tests[0].partition("::")[0]


def _parameter(mutation: Mutation):
    # Mutations of one test file run on one worker: its tests are proven sound there once.
    group = pytest.mark.xdist_group(f"mutation {_file(mutation)}")
    marks = [group, pytest.mark.root] if mutation.root else [group]
    return pytest.param(mutation, id=mutation.name, marks=marks)


@pytest.fixture(scope="session")
def copy(tmp_path_factory) -> Iterator[Copy]:
    made = Copy(tmp_path_factory.mktemp("mutated"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def sound(copy) -> Callable[[str], None]:
    """Prove once per file that its named tests pass while nothing is broken."""
    proven: dict[str, Unusable | None] = {}

    def prove(test: str) -> None:
        file = test.partition("::")[0]
        if file not in proven:
            mine = [m for m in MUTATIONS if os.geteuid() == 0 or not m.root]
            named = sorted({t for m in mine for t in m.tests if t.startswith(file + "::")})
            proven[file] = None
            try:
                copy.must_pass(named)
            except Unusable as error:
                proven[file] = error
        if proven[file]:
            raise proven[file]

    return prove


@pytest.mark.parametrize("mutation", [_parameter(m) for m in MUTATIONS])
def test_the_broken_rule_is_seen(mutation, copy, sound):
    for test in mutation.tests:
        sound(test)
    copy.must_fail(mutation)


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
