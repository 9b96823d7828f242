"""The table of mutations: every rule that must be seen to matter, and the test that sees it.

Decision 22. Keep old texts short and named tests fast. A text that changes turns the suite red:
then the table follows the code.
"""

from __future__ import annotations

from tests.mutation.containers import CONTAINERS
from tests.mutation.files import FILES
from tests.mutation.hook import HOOK
from tests.mutation.leases import LEASES
from tests.mutation.memory import MEMORY_ROWS
from tests.mutation.order import ORDER
from tests.mutation.runner import Mutation
from tests.mutation.vault import VAULT
from tests.mutation.vaultwarden import VAULTWARDEN

STATIC = "tests/attack/test_static.py::"
ROOTS = "tests/attack/test_roots.py::"
PROCESS = "tests/attack/test_process.py::"
CONFINE = "tests/unit/test_confine.py::"
AUDIT = "tests/unit/test_audit.py::"
TAMPER = "tests/unit/test_audit_tamper.py::"
RESERVE = "tests/unit/test_audit_reserve.py::"
ACTS = "tests/unit/test_order_of_acts.py::"
CREDENTIALS = "tests/unit/test_credentials.py::"
EMBEDDED = "tests/unit/test_embedded.py::"
REGISTRY = "tests/contract/test_registry_contract.py::"
ALONE = "tests/unit/test_lines_of_defence.py::"
MEMORY = "tests/unit/test_memory.py::"
DOTENV = "tests/unit/test_dotenv.py::"

WALK = "vault_svc/hazmat/confine_walk.py"
STAGE = "vault_svc/hazmat/confine_stage.py"
WRITE = "vault_svc/hazmat/confine.py"
ROOT = "vault_svc/hazmat/confine_root.py"
HOSTFILES = "vault_svc/hazmat/hostfiles.py"
CHAIN = "vault_svc/adapters/audit/chain.py"
JSONL = "vault_svc/adapters/audit/jsonl.py"
STATEMENTS = "vault_svc/adapters/registry/statements.py"
APPENDING = "vault_svc/adapters/audit/appending.py"
BATCH = "vault_svc/services/batch.py"
REMOVAL = "vault_svc/services/removal.py"

CONFINEMENT = (
    Mutation(
        "openat2 without its restrictions",
        "vault_svc/hazmat/openat2.py",
        "how = _OpenHow(flags | os.O_CLOEXEC, 0, resolve)",
        "how = _OpenHow(flags | os.O_CLOEXEC, 0, 0)",
        (STATIC + "test_a5_symlinked_first_component_is_refused_with_the_canonical_hint",),
        "a symlinked parent leads out of the jail",
    ),
    Mutation(
        "portable walk follows links",
        WALK,
        "fd = os.open(name, SEARCH | _BENEATH, dir_fd=dir_fd)",
        "fd = os.open(name, SEARCH & ~os.O_NOFOLLOW, dir_fd=dir_fd)",
        (STATIC + "test_a4_symlinked_parent_is_refused_by_name_and_target",),
        "no-follow off",
    ),
    Mutation(
        "portable walk crosses mounts",
        WALK,
        "if mount_id(fd) != mount:",
        "if False:",
        (STATIC + "test_a7_foreign_mount_at_the_parent_is_refused",),
        "the device check: a bind mount leads to another tenant's files",
        root=True,
    ),
    Mutation(
        "dot dot allowed",
        "vault_svc/domain/paths.py",
        'if part in {"", ".", ".."}:',
        'if part in {"", "."}:',
        ("tests/unit/test_paths.py::test_paths_refused_before_any_system_call",),
        "lexical refusal of ..",
    ),
    Mutation(
        "no allowed base",
        ROOT,
        'raise Refused(Reason.ROOT_NOT_ALLOWED, path, detail="not strictly below an allowed base")',
        "return",
        (ROOTS + "test_c1_root_that_is_not_strictly_below_a_base_is_refused",),
        "base check off",
    ),
    Mutation(
        "state directory allowed",
        ROOT,
        "    for state in forbidden:\n        _check_state(path, parts, state.parts)\n",
        "",
        (ALONE + "test_a_state_directory_that_is_not_there_yet_is_kept_free",),
        "colibri's own store as a jail",
    ),
    Mutation(
        "state under another name allowed",
        ROOT,
        "            _check_identity(path, parts, seen, state)\n",
        "            pass\n",
        (ROOTS + "test_c1_state_reached_by_another_name_is_still_the_state",),
        "the state by a second name",
    ),
    Mutation(
        "root of another inode",
        ROOT,
        "if registered is not None and found != registered:",
        "if False:",
        (
            ROOTS + "test_c4_root_that_is_not_the_registered_inode_is_refused",
            CONFINE + "test_root_is_proven_by_its_inode",
        ),
        "inode check off: a jail made anew would get the old one's secrets",
    ),
    Mutation(
        "base that others may write",
        ROOT,
        "if status.st_mode & _OTHERS_WRITE:",
        "if False:",
        (ROOTS + "test_c3_component_that_others_may_write_is_refused_sticky_or_not",),
        "who may rename the base may move the jail",
    ),
    Mutation(
        "base of another user",
        ROOT,
        "if not is_ours_or_roots(status):",
        "if False:",
        (ROOTS + "test_c3_component_of_another_user_is_refused",),
        "an owner may move what is below",
        root=True,
    ),
    Mutation(
        "symlinked root or base",
        ROOT,
        "return os.open(name, SEARCH, dir_fd=dir_fd)",
        "return os.open(name, SEARCH & ~os.O_NOFOLLOW, dir_fd=dir_fd)",
        (
            ROOTS + "test_c2_symlinked_root_is_refused_with_its_target",
            ROOTS + "test_c2_symlinked_base_or_component_above_the_root_is_refused",
        ),
        "no-follow off above the jail",
    ),
    Mutation(
        "parent of another jail user",
        WRITE,
        "if uid not in {0, owner.uid, root.uid}:",
        "if False:",
        (STATIC + "test_a15_parent_of_another_jail_user_is_refused_but_can_be_revoked_from",),
        "decision 5: who owns the directory can read what is moved in it",
        root=True,
    ),
    Mutation(
        "a directory is displaced",
        WRITE,
        "if stat.S_ISDIR(before.st_mode):",
        "if False:",
        (STATIC + "test_a10_directory_at_the_name_is_refused_and_never_removed",),
        "a directory is refused by the code that says so",
    ),
    Mutation(
        "existing object opened at the final name",
        WRITE,
        "    staged = staging.stage(parent, wanted, shown)\n",
        "    staged = staging.stage(parent, wanted, shown)\n"
        "    if look(parent, name) is not None:\n"
        "        with open(os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=parent), 'wb') as old:\n"
        "            old.write(wanted.content)\n",
        (
            STATIC + "test_a1_a2_a3_symlink_at_the_name_is_replaced_and_its_target_untouched",
            STATIC + "test_a13_hard_link_is_replaced_and_the_other_name_kept",
        ),
        "rule 2: what stands at the name is never opened",
    ),
    Mutation(
        "symlink at the name inspected through",
        STAGE,
        "return os.stat(name, dir_fd=parent, follow_symlinks=False)",
        "return os.stat(name, dir_fd=parent)",
        (STATIC + "test_a1_a2_symlink_at_the_name_is_removed_and_its_target_untouched",),
        "the look at the name follows nothing",
    ),
    Mutation(
        "no read-back",
        WRITE,
        "if not ours or not same_mount or drift:",
        "if False:",
        (CONFINE + "test_read_back_reports_what_is_not_what_was_written",),
        "the last look through a fresh walk",
    ),
    Mutation(
        "root swapped while writing",
        "vault_svc/adapters/delivery.py",
        "        if moved:\n",
        "        if False:\n",
        (ROOTS + "test_c6_root_replaced_while_writing_is_tampered_not_delivered",),
        "success of a delivery into a jail that is gone",
    ),
    Mutation(
        "held base asked again after the writes",
        "vault_svc/services/batch.py",
        "        if job.root.path in lost:\n",
        "        if False:\n",
        (
            "tests/unit/test_held_bases.py::test_base_moved_while_a_batch_writes_is_recorded_for_nobody",
        ),
        "what is held cannot tell where its path leads by now",
    ),
    Mutation(
        "file not synced",
        STAGE,
        "        os.fsync(staged.fd)\n",
        "",
        (PROCESS + "test_d4_order_is_sync_file_name_sync_directory",),
        "fsync of the file off",
    ),
    Mutation(
        "directory not synced",
        WRITE,
        "        os.fsync(parent)\n        found = _read_back",
        "        found = _read_back",
        (PROCESS + "test_d4_order_is_sync_file_name_sync_directory",),
        "fsync of the directory off",
    ),
    Mutation(
        "mode set late",
        STAGE,
        "        _prepare(staged.fd, wanted.owner, wanted.mode)\n"
        "        _check_prepared(staged, wanted.owner, wanted.mode)\n"
        "        _write(staged.fd, wanted.content)\n",
        "        _write(staged.fd, wanted.content)\n"
        "        _prepare(staged.fd, wanted.owner, wanted.mode)\n"
        "        _check_prepared(staged, wanted.owner, wanted.mode)\n",
        (PROCESS + "test_d4_owner_and_mode_are_set_before_a_byte_is_written",),
        "owner and mode before the first byte",
    ),
    Mutation(
        "mode never set",
        STAGE,
        "    os.fchmod(fd, mode)\n",
        "",
        (CONFINE + "test_place_sets_the_mode_it_was_given",),
        "the mode on the descriptor",
    ),
    Mutation(
        "owner unset",
        STAGE,
        "        os.fchown(fd, owner.uid, owner.gid)\n",
        "        pass\n",
        (STATIC + "test_a15_setgid_sticky_and_open_parents_get_the_right_owner_and_mode",),
        "the owner on the descriptor",
        root=True,
    ),
    Mutation(
        "inherited ACL kept",
        STAGE,
        "        os.removexattr(fd, _ACL)\n",
        "        pass\n",
        (STATIC + "test_a15_default_acl_of_the_parent_is_not_inherited",),
        "a default ACL gives the file to others",
        root=True,
    ),
    Mutation(
        "temporary files not swept",
        STAGE,
        "    return sum(_sweep_one(parent, name, ruthless=ruthless) for name in stale)",
        "    return 0 * len(stale)",
        (PROCESS + "test_d4_stale_temporary_file_is_swept_by_the_next_place_or_remove",),
        "a crash's temporary file holds the secret",
    ),
    Mutation(
        "everything swept",
        STAGE,
        "if TEMPORARY.fullmatch(entry.name)]",
        "if entry.name.startswith('.')]",
        (PROCESS + "test_d4_sweep_spares_a_live_writer_and_what_is_not_ours",),
        "the tenant's own files are not ours to delete",
    ),
    Mutation(
        "failed file left full",
        STAGE,
        "        os.ftruncate(staged.fd, 0)\n",
        "        pass\n",
        (STATIC + "test_a14_append_only_parent_keeps_no_secret_in_a_temporary_file",),
        "where no name can be taken away the bytes must be",
        root=True,
    ),
    Mutation(
        "denied openat2 taken for a missing one",
        "vault_svc/hazmat/openat2.py",
        "_UNSUPPORTED: Final = frozenset({errno.ENOSYS, errno.E2BIG, errno.EINVAL})",
        "_UNSUPPORTED: Final = frozenset({errno.ENOSYS, errno.EPERM, errno.EINVAL})",
        (PROCESS + "test_d8_forbidden_openat2_is_never_taken_for_a_missing_one",),
        "a filter would switch the stricter walk off",
    ),
    Mutation(
        "fallback without leave",
        WALK,
        'if wanted == "openat2" or (sys.platform == "linux" and not allow_fallback):',
        "if False:",
        (PROCESS + "test_d8_kernel_without_openat2_is_refused_unless_the_walk_is_allowed",),
        "an old kernel is the operator's decision",
    ),
)

DOTENV_RULES = (
    Mutation(
        "universal refuses nothing",
        "vault_svc/domain/dotenv_profiles.py",
        "    if not _BARE.fullmatch(value):\n        return Rule.BARE\n",
        "",
        (DOTENV + "test_a_value_outside_is_refused_with_the_rule_and_who_can",),
        "universal refusal off",
    ),
    Mutation(
        "universal value quoted",
        "vault_svc/domain/dotenv_profiles.py",
        "_broken_universal, _as_it_is),",
        "_broken_universal, _single),",
        (DOTENV + "test_a_value_is_written_exactly_so",),
        "docker's readers keep quotes as part of the value",
    ),
    Mutation(
        "duplicate keys allowed",
        "vault_svc/domain/dotenv_parse.py",
        "if not name or name[1] <= last:",
        "if not name:",
        ("tests/unit/test_dotenv_parse.py::test_foreign_text_is_refused_with_its_line",),
        "readers differ in which of two they take",
    ),
    Mutation(
        "written bytes not read back",
        "vault_svc/domain/dotenv.py",
        "if parse(data, profile) != plain:",
        "if False:",
        (DOTENV + "test_a_writer_that_spoils_a_value_is_caught_before_the_bytes_leave",),
        "the renderer is not its own judge",
    ),
    Mutation(
        "dangerous names allowed",
        "vault_svc/domain/names.py",
        "if text not in allowed and (",
        "if False and (",
        (
            "tests/unit/test_names.py::test_variables_that_are_refused",
            DOTENV + "test_names_are_checked_before_anything_is_written",
        ),
        "LD_PRELOAD from a collection",
    ),
    Mutation(
        "reserved ids allowed",
        "vault_svc/domain/names.py",
        "if text in RESERVED_IDS or text.endswith(RESERVED_SUFFIXES):",
        "if False:",
        ("tests/unit/test_names.py::test_reserved_tenant_ids",),
        "a tenant called as the platform owns its resources",
    ),
)

RECORDS = (
    Mutation(
        "digest unkeyed",
        "vault_svc/hazmat/hostkey.py",
        "return hmac.digest(self.__digest, ",
        'return hmac.digest(b"", ',
        ("tests/unit/test_hostkeys.py::test_digests_are_of_tenant_content_purpose_and_key",),
        "the registry would help a guesser",
    ),
    Mutation(
        "digest without its tenant",
        "vault_svc/hazmat/hostkey.py",
        'tenant_id.encode() + b"\\0" + content, "sha256"',
        'content, "sha256"',
        ("tests/unit/test_hostkeys.py::test_digests_are_of_tenant_content_purpose_and_key",),
        "equal secrets of two tenants would show",
    ),
    Mutation(
        "chain forgets the line before",
        "vault_svc/hazmat/hostkey.py",
        'return hmac.digest(self.__audit, previous.encode() + b"\\0" + line, "sha256").hex()',
        'return hmac.digest(self.__audit, line, "sha256").hex()',
        ("tests/unit/test_hostkeys.py::test_digests_and_chain_values_are_the_documented_ones",),
        "chain previous ignored",
    ),
    Mutation(
        "lines of any mac are ours",
        CHAIN,
        "    return hmac.compare_digest(mac, line.head.mac)\n",
        "    return True\n",
        (
            TAMPER + "test_without_the_host_key_nothing_can_be_continued",
            AUDIT + "test_a_last_line_that_is_not_ours_is_not_continued",
        ),
        "an edited line",
    ),
    Mutation(
        "the line before may be another",
        CHAIN,
        'return "" if line.prev == self.head.mac else',
        'return "" if True else',
        (TAMPER + "test_a_line_of_another_history_with_the_right_number_is_seen",),
        "a spliced history",
    ),
    Mutation(
        "mirror check off",
        CHAIN,
        "if self._mirror and seq < self._mirror.seq:",
        "if False:",
        (TAMPER + "test_a_cut_after_any_line_is_seen",),
        "a cut log looks whole from inside",
    ),
    Mutation(
        "cut log continued",
        JSONL,
        "if last.head.seq < mirror.seq:",
        "if False:",
        (AUDIT + "test_a_log_behind_its_mirror_is_not_continued",),
        "new lines would hide the cut",
    ),
    Mutation(
        "deleted log begun anew",
        JSONL,
        "        if not last:\n            raise broken(",
        "        if not last:\n            return\n            raise broken(",
        (AUDIT + "test_a_deleted_log_is_not_begun_anew",),
        "a deleted log must not look like a new one",
    ),
    Mutation(
        "reserve off",
        "vault_svc/adapters/audit/reserve.py",
        "if self._size == 0:",
        "if True:",
        (RESERVE + "test_an_ordinary_append_that_gets_no_blocks_writes_nothing",),
        "a full disk would block a revocation",
    ),
    Mutation(
        "reserve for everybody",
        APPENDING,
        "if not removal or error.errno not in NO_SPACE:\n                raise\n        try:",
        "if error.errno not in NO_SPACE:\n                raise\n        try:",
        (RESERVE + "test_an_ordinary_append_that_gets_no_blocks_writes_nothing",),
        "deliveries would use up what removals need",
    ),
    Mutation(
        "audit lines not synced",
        APPENDING,
        "            _fdatasync(self._active.descriptor)\n",
        "            pass\n",
        (AUDIT + "test_a_batch_is_synced_once",),
        "announced means durable",
    ),
    Mutation(
        "mirror goes back",
        STATEMENTS,
        'mac = :mac WHERE seq < :seq"',
        'mac = :mac"',
        (REGISTRY + "test_the_mirror_never_goes_back",),
        "an older head would excuse a cut",
    ),
    Mutation(
        "generation falls",
        STATEMENTS,
        "generation = CASE WHEN generation < :generation THEN :generation ELSE generation END,",
        "generation = :generation,",
        (REGISTRY + "test_generation_never_falls",),
        "two contents under one number",
    ),
    Mutation(
        "suspended by a receipt made active",
        STATEMENTS,
        "status = CASE WHEN status = 'registered' THEN 'active' ELSE status END,",
        "status = 'active',",
        (REGISTRY + "test_a_receipt_changes_the_status_of_the_registered_only",),
        "a late receipt would undo a revocation",
    ),
)

ACTS_IN_ORDER = (
    Mutation(
        "audit after the act",
        BATCH,
        "                self._announce([job",
        "                written = [j for j in jobs if j.plan.step is Step.WRITE]\n"
        "                self._place(written, held.delivery)\n"
        "                self._announce([job",
        (
            ACTS + "test_a_delivery_is_announced_in_both_places_before_it_is_done",
            ACTS + "test_nothing_is_delivered_that_cannot_be_announced",
        ),
        "rule 4: announced durably, or not done",
    ),
    Mutation(
        "receipts before the write",
        BATCH,
        "                self._place(writes, held.delivery)\n",
        "                list(Recorder(self._context).record(jobs, failures))\n"
        "                self._place(writes, held.delivery)\n",
        (ACTS + "test_a_receipt_is_recorded_only_after_its_file_is_there",),
        "a row that lies",
    ),
    Mutation(
        "generation not raised",
        "vault_svc/domain/plan.py",
        "return max([self.tenant.generation, *(intent.generation for intent in self.intents)]) + 1",
        "return max([self.tenant.generation, *(intent.generation for intent in self.intents)])",
        (
            ACTS + "test_unchanged_input_changes_nothing_and_changed_input_raises_the_generation",
            "tests/unit/test_plan.py::test_every_difference_is_written_anew_under_the_next_generation",
        ),
        "content changed, number not",
    ),
    Mutation(
        "unchanged written anew",
        "vault_svc/domain/plan.py",
        "    if drift:\n",
        "    if drift or not drift:\n",
        (
            ACTS + "test_unchanged_input_changes_nothing_and_changed_input_raises_the_generation",
            "tests/unit/test_plan.py::test_nothing_to_do_when_file_bytes_and_receipt_agree",
        ),
        "a no-op changes no inode",
    ),
    Mutation(
        "suspended tenant provisioned",
        "vault_svc/domain/tenant.py",
        "Action.PROVISION: (_OPEN, Status.ACTIVE),",
        "Action.PROVISION: ((*_OPEN, Status.SUSPENDED), Status.ACTIVE),",
        (
            ACTS + "test_a_suspended_tenant_gets_nothing",
            "tests/unit/test_plan.py::test_transitions_are_these_and_no_others",
        ),
        "decision 3: nothing puts a revoked secret back",
    ),
    Mutation(
        "empty collection delivered",
        "vault_svc/services/planning.py",
        "if not resolved.values and not may_be_empty:",
        "if False:",
        (ACTS + "test_an_empty_collection_takes_nothing_away",),
        "an empty answer is not a success",
    ),
    Mutation(
        "drift hides nothing from a rotation",
        "vault_svc/services/keys.py",
        "if self.context.keys.digest(row.tenant_id, content, key_id=key_id) != receipt.digest:",
        "if False:",
        (ACTS + "test_a_drifted_file_stays_drifted_through_a_key_rotation",),
        "rotating would launder what a tenant wrote",
    ),
    Mutation(
        "engine's answer not compared",
        "vault_svc/services/context.py",
        "if where.path != tenant.jail_root:",
        "if False:",
        (ACTS + "test_a_jail_the_engine_has_elsewhere_is_refused",),
        "engine, row and bases must agree",
    ),
    Mutation(
        "tenant's lock off",
        "vault_svc/adapters/locks.py",
        "        while (token := self._acquire(offset)) is None:\n",
        "        token = self._acquire(offset)\n        while False:\n",
        ("tests/unit/test_locks.py::test_threads_exclude_each_other",),
        "two provisioners of one tenant",
    ),
    Mutation(
        "revocation waits for the audit log",
        REMOVAL,
        "            self._failure = self._failure or error\n",
        "            raise\n",
        (ACTS + "test_a_removal_is_done_although_it_cannot_be_recorded",),
        "decision 14: removals always work",
    ),
)

SECRETS = (
    Mutation(
        "collection id not compared",
        "vault_svc/adapters/sources/embedded.py",
        "if document.collection_id != ref.collection_id:",
        "if False:",
        (
            EMBEDDED + "test_another_id_under_the_name_is_a_mismatch",
            ACTS + "test_another_collection_under_the_name_is_not_delivered",
        ),
        "somebody else's collection under the name",
    ),
    Mutation(
        "a variable twice in a collection",
        "vault_svc/adapters/sources/documents.py",
        "if len(whole) != len(pairs):",
        "if False:",
        (EMBEDDED + "test_a_variable_twice_in_the_plaintext_is_told",),
        "which of two would be delivered?",
    ),
    Mutation(
        "credential mode check off",
        HOSTFILES,
        "    if mode not in modes:\n",
        "    if False:\n",
        (CREDENTIALS + "test_every_other_mode_is_refused_with_what_to_do",),
        "a key others can read",
    ),
    Mutation(
        "symlinked credential accepted",
        HOSTFILES,
        "_READ: Final = os.O_RDONLY | os.O_NOFOLLOW |",
        "_READ: Final = os.O_RDONLY |",
        (CREDENTIALS + "test_a_symlink_is_not_followed_even_to_a_good_file",),
        "somebody else decides what is read",
    ),
    Mutation(
        "symlink on the way to a credential",
        HOSTFILES,
        'getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC',
        'getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_CLOEXEC',
        (ALONE + "test_a_symlink_far_up_the_way_to_a_credential_is_not_followed",),
        "no-follow on every component",
    ),
    Mutation(
        "credential not durable before its name",
        HOSTFILES,
        "            os.fsync(fd)\n",
        "            pass\n",
        (CREDENTIALS + "test_the_file_is_durable_before_its_name_and_the_name_before_the_end",),
        "a crash would leave an empty key",
    ),
    Mutation(
        "credential left by a crash not swept",
        "vault_svc/adapters/credentials/file.py",
        '                hostfiles.sweep_at(parent, f".{name}.")\n',
        "",
        (CREDENTIALS + "test_put_sweeps_what_a_crash_left_of_this_credential_only",),
        "old keys in temporary files",
    ),
    Mutation(
        "dumpable flag off",
        "vault_svc/hazmat/memory.py",
        "failed = libc.prctl(_PR_SET_DUMPABLE, *(ctypes.c_ulong(0) for _ in range(4)))",
        "failed = 0",
        (MEMORY + "test_the_flag_is_set_and_children_start_clean",),
        "a neighbour of the same uid reads our memory",
    ),
    Mutation(
        "core limit left",
        "vault_svc/hazmat/memory.py",
        "    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n",
        "",
        (MEMORY + "test_the_core_limit_is_zero_and_cannot_be_raised_by_children",),
        "helpers would dump core",
    ),
    Mutation(
        "process protected too late",
        "vault_svc/adapters/credentials/store.py",
        '        """\n        protect_process()\n',
        '        """\n',
        (ALONE + "test_the_process_is_protected_before_any_value_is_asked_for",),
        "a value is piped in before any credential is read",
    ),
    Mutation(
        "an error's own words shown",
        "vault_svc/faults.py",
        'f"{type(error).__name__} at {where}"',
        'f"{error!r} at {where}"',
        ("tests/unit/test_cli_errors.py::test_a_fault_is_told_by_type_and_place_only",),
        "messages and locals could hold a value",
    ),
    Mutation(
        "locals shown",
        "cli/app.py",
        '            output.say(f"  {frame}")\n',
        '            output.say(f"  {frame}")\n'
        "        last = error.__traceback__\n"
        "        while last:\n"
        "            output.say(repr(last.tb_frame.f_locals))\n"
        "            last = last.tb_next\n",
        ("tests/unit/test_cli_errors.py::test_a_fault_is_told_by_type_and_place_only",),
        "--verbose shows places, never what stands there",
    ),
    Mutation(
        "panics not caught",
        "cli/app.py",
        "    except BaseException as error:  # noqa: BLE001",
        "    except Exception as error:  # noqa: BLE001",
        ("tests/unit/test_cli_errors.py::test_a_fault_is_told_by_type_and_place_only",),
        "a Rust panic is no Exception: Python would print its words",
    ),
    Mutation(
        "a surplus argument repeated",
        "cli/app.py",
        '        words = f"{_SURPLUS}; values never come as arguments"\n',
        "        pass\n",
        ("tests/unit/test_cli_errors.py::test_a_value_typed_as_an_argument_is_not_repeated",),
        "a value typed in haste",
    ),
    Mutation(
        "secrets show themselves",
        "vault_svc/domain/secret.py",
        'return "SecretValue(hidden)"',
        'return f"SecretValue({self.__text})"',
        (
            "tests/contract/test_source_contract.py::test_a_found_set_does_not_show_its_values[embedded]",
        ),
        "a type that cannot print itself by accident",
    ),
    Mutation(
        "unknown settings accepted",
        "vault_svc/config.py",
        "        elif key not in _READ_ELSEWHERE:\n",
        "        elif False:\n",
        ("tests/unit/test_config.py::test_an_unknown_variable_is_refused",),
        "a typing error would silently switch a protection off",
    ),
    Mutation(
        "unknown keys in the settings file accepted",
        "vault_svc/config.py",
        "        if key not in known:\n",
        "        if False:\n",
        ("tests/unit/test_config.py::test_an_unknown_key_in_the_file_is_refused",),
        "a typing error would silently switch a protection off",
    ),
    Mutation(
        "helpers inherit our environment",
        "vault_svc/hazmat/proc.py",
        "            env=env,\n",
        "            env=env or None,\n",
        ("tests/unit/test_proc.py::test_the_environment_is_empty_unless_given",),
        "what is in our environment is nobody else's",
    ),
)

MUTATIONS = (
    *CONFINEMENT,
    *DOTENV_RULES,
    *RECORDS,
    *ACTS_IN_ORDER,
    *SECRETS,
    *VAULTWARDEN,
    *FILES,
    *HOOK,
    *CONTAINERS,
    *MEMORY_ROWS,
    *LEASES,
    *ORDER,
    *VAULT,
)
