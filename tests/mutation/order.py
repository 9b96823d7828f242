"""Mutations of what comes first: the log before the act, the log before an older registry."""

from __future__ import annotations

from tests.mutation.runner import Mutation

ACTS = "tests/unit/test_order_of_acts.py::"
OLDER = "tests/unit/test_outdated_registry.py::"
OUTDATED = "vault_svc/services/outdated.py"

ORDER = (
    Mutation(
        "collection changed before it is announced",
        "vault_svc/services/secrets.py",
        "self.context.record(Event.WILL_CHANGE_COLLECTION, collection=collection, **named)",
        "pass",
        (ACTS + "test_a_collection_is_announced_before_it_is_changed",),
        "a change that a cut log does not have",
    ),
    Mutation(
        "row changed before the log is looked at",
        "vault_svc/services/removal.py",
        "            self.context.audit.ready()\n",
        "            pass\n",
        (ACTS + "test_a_cut_log_keeps_everything_as_it_is",),
        "a tenant let in again that no line tells of",
    ),
    Mutation(
        "older registry believed",
        OUTDATED,
        "    if not head or not remembered or head.seq <= remembered.seq:\n",
        "    if True:\n",
        (OLDER + "test_who_was_ended_since_stays_so",),
        "a registry put back alone would bring a revoked secret back",
    ),
    Mutation(
        "resumption forgotten with the older registry",
        OUTDATED,
        "            found.pop(tenant_id, None)\n",
        "            pass\n",
        (OLDER + "test_who_was_resumed_since_is_delivered",),
        "whoever was let in again would stay out",
    ),
    Mutation(
        "line written over what an older registry forgot",
        "vault_svc/services/context.py",
        "        outdated.closed(self)\n",
        "",
        (OLDER + "test_no_other_command_makes_it_forgotten",),
        "one more line, and nobody would look again",
    ),
    Mutation(
        "tenants of a process that ended not missed",
        "vault_svc/services/parts.py",
        "            missing.discard(outcome.tenant_id)\n",
        "            missing.clear()\n",
        (
            "tests/cli/test_processes.py::test_who_misses_its_answer_is_told_so_and_the_next_run_mends_it",
        ),
        "a run that lost tenants would end with 0",
    ),
    Mutation(
        "rows read after the answers that parts inherit",
        "vault_svc/services/provision.py",
        "        if self.resolve is None:\n",
        "        if rows:\n",
        (
            "tests/vaultwarden/test_batch.py::test_what_a_shared_run_read_is_not_delivered_over_a_newer_delivery",
        ),
        "older secrets would be delivered over newer ones",
    ),
    Mutation(
        "a part's own fault lost",
        "vault_svc/services/provision.py",
        "            told = error if isinstance(error, ColibriError) else internal(error)\n",
        "            raise\n",
        ("tests/cli/test_processes.py::test_a_fault_of_ours_in_a_part_is_told_as_one",),
        "a fault of colibri's would be told as a process that ended",
    ),
    Mutation(
        "processes outlive the one that made them",
        "vault_svc/hazmat/forked.py",
        "        tie()\n",
        "",
        ("tests/unit/test_forked.py::test_when_we_are_killed_so_are_they",),
        "a run that was killed would go on delivering",
    ),
    Mutation(
        "interrupted while the confined thread works",
        "vault_svc/hazmat/landlock.py",
        "    with deferred():\n",
        "    if True:\n",
        ("tests/attack/test_second_layer.py::test_an_interruption_waits_for_the_thread",),
        "its descriptors would be closed, and their numbers given to something else",
    ),
    Mutation(
        "put off behind a gate",
        "vault_svc/hazmat/ending.py",
        "        if self._inside:\n",
        "        if False:\n",
        ("tests/unit/test_ending.py::test_it_waits_for_the_outermost_block",),
        "a batch's writes would be interrupted in the middle",
    ),
    Mutation(
        "opened before it is known to be a file",
        "vault_svc/hazmat/confine_walk.py",
        "        if not stat.S_ISREG(os.fstat(held).st_mode):\n",
        "        if False:\n",
        ("tests/unit/test_confine.py::test_what_came_after_the_look_is_never_opened",),
        "a device of the tenant's would be opened by the host's root",
    ),
    Mutation(
        "registry open over a fork",
        "vault_svc/wiring/__init__.py",
        "        self._registry.dispose()\n",
        "",
        ("tests/cli/test_processes.py::test_nothing_of_the_registry_is_open_when_they_are_made",),
        "the parts would hold no lock of their own, and lose what they committed",
    ),
    Mutation(
        "told in a directory of the tenant's",
        "vault_svc/adapters/reload.py",
        '                cwd="/",\n',
        "",
        ("tests/unit/test_reload.py::test_its_directory_is_no_tenants",),
        "what a program loads from its directory would be the tenant's, and run as root",
    ),
    Mutation(
        "interrupted while writers write",
        "vault_svc/services/atonce.py",
        "        outlast(threads)\n",
        "        pass\n",
        (
            "tests/unit/test_at_once.py::test_interrupted_it_waits_for_what_is_at_work_and_begins_nothing_more",
        ),
        "their descriptors would be closed, and their numbers given to something else",
    ),
    Mutation(
        "hidden owner trusted unseen",
        "vault_svc/hazmat/hidden_owners.py",
        "    return status.st_uid == _NOBODY and (status.st_dev, status.st_ino) in _vouched\n",
        "    return status.st_uid == _NOBODY\n",
        (
            "tests/unit/test_hidden_owners.py::test_only_what_was_vouched_for_passes_without_an_owner",
        ),
        "a neighbour's directory would lead the hook elsewhere",
    ),
    Mutation(
        "program that others may change is run",
        "vault_svc/hazmat/hostfiles.py",
        '    if state.st_mode & 0o022:\n        raise _refuse(code, path, "can be written',
        '    if False:\n        raise _refuse(code, path, "can be written',
        ("tests/unit/test_reload.py::test_a_program_that_others_could_change_is_not_run",),
        "whoever may write it would run what he likes as colibri's user",
    ),
)
