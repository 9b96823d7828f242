"""Mutations of the spawner hook, of spawned agents and of the second layer."""

from __future__ import annotations

from tests.mutation.runner import Mutation

RUN = "tests/hook/test_run.py::"
OCI = "tests/hook/test_oci.py::"
FILES = "tests/hook/test_files.py::"
SPAWN = "tests/spawn/test_spawn.py::"
QUEUE = "tests/unit/test_queue.py::"
SERVE = "tests/hook/test_serve.py::"
LASTING = "tests/hook/test_serve_lasting.py::"
CALLERS = "tests/hook/test_serve_callers.py::"
LAYER = "tests/attack/test_second_layer.py::"
CHILD = "tests/attack/test_second_layer_child.py::"

HOOK = (
    Mutation(
        "the hook asks the engine",
        "vault_svc/services/context.py",
        "where = said or self._asked(tenant)",
        "where = self._asked(tenant)",
        (RUN + "test_a_root_that_is_not_the_registered_one_is_refused",),
        "the spawner's root is what is proven; podman's lock is held meanwhile",
    ),
    Mutation(
        "a start without secrets is not recorded",
        "cli/hooking.py",
        "services.hook.carry_on(spawned, failure)",
        "pass",
        (RUN + "test_continue_lets_it_start_and_says_so_in_the_log",),
        "continue is the operator's explicit, audited choice",
    ),
    Mutation(
        "a name twice in a state",
        "vault_svc/domain/oci.py",
        "if len(found) != len(pairs):",
        "if False:",
        (OCI + "test_what_no_runtime_says_is_refused",),
        "two readers could take it for two jails",
    ),
    Mutation(
        "state and bundle may disagree",
        "vault_svc/domain/oci.py",
        "if _jail(whole, what) != said.jail:",
        "if False:",
        (OCI + "test_state_and_bundle_must_name_the_same_jail",),
        "one tenant's name with another's root",
    ),
    Mutation(
        "somebody else's hook file is replaced",
        "vault_svc/services/hook_install.py",
        "if state is State.FOREIGN:",
        "if False:",
        (FILES + "test_somebody_elses_file_is_left",),
        "install touches only what colibri wrote",
    ),
    Mutation(
        "an ephemeral jail stays",
        "vault_svc/services/spawn.py",
        "            engine.destroy(what.jail)\n",
        "",
        (SPAWN + "test_nothing_runs_where_the_delivery_fails",),
        "the jail goes with its agent on every way out",
    ),
    Mutation(
        "an agent runs although nothing was delivered",
        "vault_svc/services/spawn.py",
        'if error.code != "no_collection":',
        "if False:",
        (SPAWN + "test_nothing_runs_where_the_delivery_fails",),
        "no secrets, no agent",
    ),
    Mutation(
        "hooks are served one by one",
        "vault_svc/adapters/queue.py",
        "stems = [mine, *others][: self._at_once]",
        "stems = [mine]",
        (QUEUE + "test_those_who_wait_are_served_in_one_go_each_with_its_own_answer",),
        "each would log in to the source alone",
    ),
    Mutation(
        "the dead are served",
        "vault_svc/adapters/queue.py",
        "            if held is not None:\n                for left",
        "            if held is not None and not name:\n                for left",
        (QUEUE + "test_nobody_is_served_who_is_gone",),
        "a jail that is gone would be delivered to",
    ),
    Mutation(
        "a thread that is not restricted",
        "vault_svc/hazmat/landlock.py",
        "        _call(_RESTRICT, ctypes.c_int(ruleset), _NO_FLAGS)\n",
        "",
        (LAYER + "test_d11_a_neighbours_jail_is_outside_too",),
        "the second layer is on",
    ),
    Mutation(
        "a child that is not restricted",
        "vault_svc/hazmat/child.py",
        "            enter(directory, writing)\n",
        "",
        (CHILD + "test_d11_a_careless_writer_is_stopped_by_the_child_alone",),
        "the second layer is on where a child writes",
    ),
    Mutation(
        "a child that keeps our descriptors",
        "vault_svc/hazmat/child.py",
        "            _let_go({directory, writing})\n",
        "",
        (CHILD + "test_the_child_holds_its_directory_and_its_answer_and_nothing_else",),
        "capability mode confines to what is held: the audit log and the registry would be",
    ),
    Mutation(
        "a child left behind",
        "vault_svc/hazmat/child.py",
        "    with deferred():\n",
        "    if True:\n",
        (CHILD + "test_an_interruption_waits_for_the_child_which_it_does_not_reach",),
        "a write would end in the middle",
    ),
    Mutation(
        "the writer is not guarded",
        "vault_svc/adapters/delivery.py",
        "return act() if self.no_second_layer else self._layer.within(proven.fd, act)",
        "return act()",
        (LAYER + "test_d11_a_careless_writer_is_stopped_by_the_layer_alone",),
        "the layer is around the write itself",
    ),
    Mutation(
        "anybody may call the service",
        "vault_svc/adapters/door.py",
        "not door_place.is_ours(connection) or self._full()",
        "self._full()",
        (CALLERS + "test_a_caller_who_is_somebody_else_is_not_heard[other]",),
        "the kernel says who calls, not the directory alone",
    ),
    Mutation(
        "a socket anybody could have put there",
        "cli/hook_call.py",
        "if state.st_uid != posix.geteuid() or state.st_mode & 0o077:",
        "if state.st_uid != posix.geteuid():",
        (CALLERS + "test_a_socket_where_others_could_have_put_it_is_not_asked",),
        "an impostor would let a jail start without its secrets",
    ),
    Mutation(
        "a jail's source waits for another's",
        "cli/hook_serving.py",
        "services.side_by_side(groups, apart)",
        "[each for group in groups for each in apart(group)]",
        (LASTING + "test_a_source_that_hangs_delays_no_tenant_of_another",),
        "one tenant's failure never delays another",
    ),
    Mutation(
        "a batch is answered when all of it is done",
        "cli/hook_serving.py",
        "for number, result in filter(None, services.hook.each(spawned)):",
        "for number, result in list(filter(None, services.hook.each(spawned))):",
        (LASTING + "test_one_that_waits_for_a_lock_delays_nobody_of_its_own_batch",),
        "one tenant's lock never has its neighbours refused",
    ),
    Mutation(
        "the service's lock is its children's too",
        "vault_svc/hazmat/filelock.py",
        "fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        (LASTING + "test_its_lock_ends_with_it_whatever_a_child_does",),
        "a stopped child would keep the next service away",
    ),
    Mutation(
        "what a child told last is not heard",
        "vault_svc/hazmat/worker.py",
        "unheard += told",
        "del told",
        (LASTING + "test_what_a_child_told_before_its_end_is_heard",),
        "a jail that started with its secrets would be recorded as started without",
    ),
    Mutation(
        "a call's words are not the whole of it",
        "cli/hook_serving.py",
        "_circumstances(call.environment, parsed[0]) != mine",
        "mine is None",
        (SERVE + "test_who_sees_other_file_systems_or_code_does_it_himself",),
        "a delivery by other settings, or into another mount namespace's tree",
    ),
)
