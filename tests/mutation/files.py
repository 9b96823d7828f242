"""Mutations of one file per secret: what makes a set of files as safe as one."""

from __future__ import annotations

from tests.mutation.runner import Mutation

ATTACK = "tests/attack/test_files.py::"
CRASH = "tests/unit/test_files_crash.py::"
DELIVERY = "tests/unit/test_files_delivery.py::"
WRITE = "vault_svc/hazmat/confine_files.py"

FILES = (
    Mutation(
        "directory named before it is finished",
        "vault_svc/hazmat/confine_make.py",
        "        _give(fd, owner)\n        _name(parent.fd, temporary, name)\n",
        "        _name(parent.fd, temporary, name)\n        _give(fd, owner)\n",
        (CRASH + "test_new_parents_cut_short_anywhere_are_their_owners_and_nothing_is_left",),
        "a crash would leave a directory that its owner cannot enter",
        root=True,
    ),
    Mutation(
        "directory that its owner cannot enter taken for good",
        WRITE,
        "    if status.st_uid != owner.uid and not mode & _OTHERS_ENTER:\n",
        "    if False:\n",
        (ATTACK + "test_roots_own_closed_directory_gets_no_file_that_its_owner_cannot_reach",),
        "delivered, but nobody could read it",
        root=True,
    ),
    Mutation(
        "secret that left the collection stays",
        WRITE,
        "    for name in stale:\n        confine.unlink(inside, name)\n",
        "",
        (ATTACK + "test_the_set_is_delivered_kept_changed_and_taken_away",),
        "a withdrawn secret would stay readable",
    ),
    Mutation(
        "directory that others may write taken for safe",
        WRITE,
        "    if mode & _OTHERS_WRITE:\n",
        "    if False:\n",
        (ATTACK + "test_a_directory_another_user_of_the_jail_can_change_is_refused",),
        "another user of the jail could replace a file",
        root=True,
    ),
    Mutation(
        "refused only after the first change",
        WRITE,
        "        confine.displaceable(inside, name)\n",
        "        pass\n",
        (ATTACK + "test_a_directory_at_a_name_is_refused_before_anything_is_changed",),
        "a failing step leaves the jail as it was (decision 10)",
    ),
    Mutation(
        "set not read back",
        WRITE,
        "        _read_back(root, parts, batch, staged)\n",
        "",
        (ATTACK + "test_a_swap_between_the_files_is_tampered_and_the_next_run_repairs",),
        "the files would lie where the tenant moved them",
    ),
    Mutation(
        "adopted set not synced",
        WRITE,
        "        for name in sorted(names):\n            _sync(root, inside, name)\n",
        "        pass\n",
        (DELIVERY + "test_a_set_without_its_receipt_is_adopted_and_synced_first",),
        "a receipt outlives a power cut, its files would not",
    ),
    Mutation(
        "announced names forgotten",
        "vault_svc/domain/plan.py",
        ".union(*(intent.keys for intent in self.intents))",
        "",
        (DELIVERY + "test_a_set_cut_short_has_no_forgotten_file_afterwards",),
        "only the intent knows what a crashed run placed",
    ),
    Mutation(
        "intent closed although part of its set was placed",
        "vault_svc/services/recording.py",
        "        return _identities(now) == _identities(before)\n",
        "        return True\n",
        (DELIVERY + "test_a_failure_between_two_names_keeps_the_intent_and_the_next_run_goes_on",),
        "nobody would know of the files that have their names",
    ),
    Mutation(
        "equal values have equal digests",
        "vault_svc/domain/files.py",
        'return _ONE + name.encode() + b"\\n" + content',
        "return _ONE + content",
        (DELIVERY + "test_neither_receipt_nor_log_tells_equal_values_or_a_plain_digest",),
        "the registry would tell which secrets are the same",
    ),
)
