"""Copies the tree, breaks one rule in the copy, and asks the named tests whether they see it."""

from __future__ import annotations

import compileall
import json
import os
import py_compile
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.mutation import guard

CHECKOUT = Path(__file__).resolve().parents[2]
SECONDS = 60
PASSED, FAILED = 0, 1  # pytest's exit statuses; any other is no verdict


@dataclass(frozen=True, slots=True)
class Mutation:
    """One rule broken on purpose: in file, old becomes new, and each of tests must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    why: str
    root: bool = False


class Unusable(Exception):  # noqa: N818 - the verdict on a row of the table
    """The table does not fit the code any more, or the run says nothing."""


class Copy:
    """A copy of the product and its tests in a directory of its own."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        ignored = shutil.ignore_patterns("__pycache__", "node_modules")
        for name in ("vault_svc", "cli", "tests", "policies"):
            shutil.copytree(CHECKOUT / name, tree / name, ignore=ignored)
        shutil.copy(CHECKOUT / "pyproject.toml", tree)
        # Checked by hash: a mutated file may have the age and the size of the old one.
        mode = py_compile.PycInvalidationMode.CHECKED_HASH
        for name in ("vault_svc", "cli"):
            compileall.compile_dir(tree / name, quiet=2, invalidation_mode=mode)

    @contextmanager
    def mutated(self, mutation: Mutation) -> Iterator[None]:
        """Break the rule; raise Unusable unless the old text stands exactly once in the file."""
        path = self.tree / mutation.file
        whole = path.read_text()
        times = whole.count(mutation.old)
        if times != 1 or mutation.old == mutation.new:
            raise Unusable(f"{mutation.name}: {mutation.file} has the old text {times} times")
        path.write_text(whole.replace(mutation.old, mutation.new))
        try:
            yield
        finally:
            path.write_text(whole)

    def must_pass(self, tests: Sequence[str]) -> None:
        """Insist that tests pass while nothing is broken, and that root skips none."""
        status, said = self.run(tests)
        skipped = os.geteuid() == 0 and " skipped" in said.splitlines()[-1]
        if status != PASSED or skipped:
            raise Unusable(f"without a mutation: status {status}\n{said[-2000:]}")

    def must_fail(self, mutation: Mutation) -> tuple[str, ...]:
        """Insist that every named test sees the broken rule; return those that failed, whole."""
        with self.mutated(mutation):
            status, said = self.run(mutation.tests)
        seen = red(said)
        unseen = [test for test in mutation.tests if not any(_is(test, each) for each in seen)]
        if status != FAILED or unseen:
            verdict = "survived" if status in {PASSED, FAILED} else f"status {status}"
            raise Unusable(f"{mutation.name}: {verdict}: {unseen}\n{said[-2000:]}")
        return seen

    def run(self, tests: Sequence[str]) -> tuple[int, str]:
        """Run tests in the copy; return pytest's exit status (FAILED for a hang) and words."""
        arguments = ["-q", "--no-header", "--tb=line", "--rootdir", str(self.tree)]
        arguments += ["-p", "pytest_timeout"]
        arguments += ["-p", "tests.mutation.guard", f"--timeout={SECONDS // 2}"]
        # One failure of many parameters is enough, but each named test must have one.
        arguments += ["--maxfail=1"] if len(tests) == 1 else []
        made, words = tempfile.mkstemp(dir=self.tree, prefix="words-")  # an orphan may still write
        os.close(made)
        status = self._asked([*arguments, *tests], words, SECONDS * 2)
        if status is None:
            return FAILED, "\n".join(f"{guard.RED}{json.dumps(test)}" for test in tests)
        return status, Path(words).read_text()

    def _asked(self, *asked: object) -> int | None:
        assert self.warm.stdin
        assert self.warm.stdout
        self.warm.stdin.write(json.dumps(asked) + "\n")
        self.warm.stdin.flush()
        if not (said := self.warm.stdout.readline()):
            raise Unusable("the process that forks for each run is gone")
        answer: int | None = json.loads(said)
        return answer

    @cached_property
    def warm(self) -> subprocess.Popen[str]:
        """The process that forks for each run."""
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COLIBRI_"))}
        environ |= {"PYTHONPATH": str(self.tree), "COLIBRI_MUTATED_TREE": str(self.tree)}
        environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # half of a quick run
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        return subprocess.Popen(
            [sys.executable, "-m", "tests.mutation.warm"],
            cwd=self.tree,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        """End it."""
        self.warm.communicate(timeout=SECONDS)


def red(said: str) -> tuple[str, ...]:
    """Return what failed, in a test or after it: an oracle may speak only then."""
    lines = [line for line in said.splitlines() if line.startswith(guard.RED)]
    return tuple(json.loads(line.removeprefix(guard.RED)) for line in lines)


def _is(named: str, failed: str) -> bool:
    """Say whether a named test is the one that failed, or has its parameters."""
    return named in {failed, failed.partition("[")[0]}
