"""Colibri with one promise broken, for the suite to find (decision 22).

Only the warm server loads this, told by name on its command line; the product has no switch.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from vault_svc.adapters.audit import appending
from vault_svc.adapters.registry.lazy import LazyRegistry
from vault_svc.domain.delivered import FILE, MODES
from vault_svc.domain.plan import Plan, Step
from vault_svc.domain.receipt import Owner, Placed
from vault_svc.domain.tenant import Status
from vault_svc.hazmat import confine, confine_stage, hostfiles
from vault_svc.services import batch, planning
from vault_svc.services.batch import Batch
from vault_svc.services.recording import Recorder
from vault_svc.services.removal import Remover


def _written_in_place() -> None:
    """No temporary file: the final name is opened and filled."""

    def place(root: Any, parent: int, path: Any, wanted: Any) -> Placed:
        fd = os.open(path[-1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, wanted.mode, dir_fd=parent)
        os.fchown(fd, wanted.owner.uid, wanted.owner.gid)
        os.fchmod(fd, wanted.mode)
        os.write(fd, wanted.content)
        os.fsync(fd)
        status = os.fstat(fd)
        os.close(fd)
        return Placed(status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size, "file")

    confine._place_at = place


def _mode_set_late() -> None:
    """Owner and mode are given after the file has its name."""
    publish = confine.publish

    def late(staged: Any, parent: int, name: str) -> str:
        displaced = publish(staged, parent, name)
        os.fchown(staged.fd, *_late)
        os.fchmod(staged.fd, MODES[FILE])
        return displaced

    _late: list[int] = []

    def remember(fd: int, owner: Owner, mode: int) -> None:
        _late[:] = [owner.uid, owner.gid]

    confine_stage._prepare = remember
    confine_stage._check_prepared = lambda *_: None
    confine.publish = late


def _announced_late() -> None:
    """The audit line follows the act."""
    place = Batch._place

    def announce(self: Batch, fresh: Any) -> None:
        intents = [
            batch.Intent(j.tenant.tenant_id, j.plan.generation, j.plan.digest, j.keys, "now")
            for j in fresh
        ]
        self._context.registry.announce(intents)

    def placed(self: Batch, writes: Any, delivery: Any) -> None:
        place(self, writes, delivery)
        if writes:
            self._context.audit.append([batch._announcement(job) for job in writes])

    Batch._announce, Batch._place = announce, placed


def _reported_late() -> None:
    """The receipt closes the intent before the log says "delivered"."""
    record, report = Recorder.record, Recorder._report

    def late(self: Recorder, jobs: Any, failures: Any) -> Any:
        outcomes = list(record(self, jobs, failures))
        report(self, jobs, self._receipts(jobs), failures)
        return iter(outcomes)

    Recorder.record, Recorder._report = late, lambda *_: None


def _receipt_first() -> None:
    """The row runs ahead of the file."""
    place = Batch._place

    def early(self: Batch, writes: Any, delivery: Any) -> None:
        recorder = Recorder(self._context)
        self._context.registry.commit([recorder._receipt(job) for job in writes], {})
        place(self, writes, delivery)

    Batch._place = early


def _no_intents() -> None:
    """Nothing in the registry says that a file is on its way."""
    LazyRegistry.announce = lambda *_: None


def _no_sweep() -> None:
    """Temporary files of a crash are left for ever."""
    confine_stage.sweep = lambda *_, **__: 0


def _never_done() -> None:
    """Every run writes, changed or not."""
    decide = planning.decide

    def again(*args: Any, **kwargs: Any) -> Plan:
        plan = decide(*args, **kwargs)
        known = args[0]
        return Plan(Step.WRITE, known.next_generation(), plan.digest, plan.drift, announced=False)

    planning.decide = again


def _closed_first() -> None:
    """The row says suspended while the file still stands."""
    unlink = Remover._unlink

    def late(self: Remover, row: Any, path: str, trail: Any) -> str:
        gone = replace(row, status=Status.SUSPENDED)
        self.context.registry.close(gone, removal=None, head=None)
        return unlink(self, row, path, trail)

    Remover._unlink = late


def _store_in_place() -> None:
    """A collection is overwritten where it is."""

    def overwrite(parent: int, name: str, content: bytes, mode: int = 0o600) -> None:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode, dir_fd=parent)
        os.write(fd, content)
        os.fsync(fd)
        os.close(fd)

    hostfiles.replace_at = overwrite


def _log_rewritten() -> None:
    """The log is written anew each time, instead of being continued."""
    write_all = appending._write_all

    def anew(active: Any, payload: bytes) -> None:
        whole = os.pread(active.descriptor, active.size, 0)
        os.ftruncate(active.descriptor, 0)
        write_all(active, whole + payload)

    appending._write_all = anew


class _NoSync:
    """The module `os`, but that fsync does nothing to files, or to directories."""

    def __init__(self, spared: Callable[[int], bool]) -> None:
        self._spared = spared

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def fsync(self, fd: int) -> None:
        if not self._spared(os.fstat(fd).st_mode):
            os.fsync(fd)


def _file_not_synced() -> None:
    confine_stage.os = _NoSync(stat.S_ISREG)


def _directory_not_synced() -> None:
    confine.os = _NoSync(stat.S_ISDIR)


def _log_not_synced() -> None:
    appending._fdatasync = lambda _: None


_FLAWS: dict[str, Callable[[], None]] = {
    name.removeprefix("_").replace("_", "-"): made
    for name, made in list(globals().items())
    if name.startswith("_") and callable(made) and getattr(made, "__module__", "") == __name__
}


def commit(flaw: str) -> None:
    """Break the promise of this name."""
    _FLAWS[flaw]()
