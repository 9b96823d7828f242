"""Mutations of the Vaultwarden source: each rule of a session, broken once."""

from __future__ import annotations

from tests.mutation.runner import Mutation

HERE = "vault_svc/adapters/sources/vaultwarden/"
FAULTS = "tests/vaultwarden/test_session_faults.py::"
ANSWERS = "tests/vaultwarden/test_answers.py::"
ITEMS = "tests/vaultwarden/test_items.py::"
HELPER = "tests/vaultwarden/test_helper.py::"
BREAKER = "tests/vaultwarden/test_breaker.py::"
WORDS = "tests/vaultwarden/test_failures.py::"
TOGETHER = "tests/vaultwarden/test_batch.py::"
LOGIN = "tests/vaultwarden/test_cli_source.py::"

VAULTWARDEN = (
    Mutation(
        "server match off",
        HERE + "appdata.py",
        "        if not _is_ours(state.get(key), account.server):\n",
        "        if False:\n",
        (FAULTS + "test_a_login_that_left_for_another_server_is_a_mismatch",),
        "the account would be read from another server",
    ),
    Mutation(
        "login believed without a sync",
        HERE + "appdata.py",
        '    return bool(state.get(f"user_{account.user_id}_sync_lastSync"))\n',
        "    return True\n",
        (FAULTS + "test_a_login_without_a_sync_is_not_read",),
        "bw ends with 0 and an empty vault",
    ),
    Mutation(
        "environment inherited",
        HERE + "appdata.py",
        "        base = {\n",
        "        base = {\n            **os.environ,\n",
        (FAULTS + "test_the_environment_is_made_from_nothing",),
        "NODE_OPTIONS, proxies and BW_CLEANEXIT would reach bw",
    ),
    Mutation(
        "an answer without its list taken for an unasked one",
        HERE + "serve_transport.py",
        "        if not isinstance(found, list):",
        "        if False:",
        (FAULTS + "test_a_good_answer_without_its_list_is_a_failure",),
        "a tenant's secrets would be found to be none",
    ),
    Mutation(
        "a document too deep",
        HERE + "jsontext.py",
        "    except (ValueError, RecursionError):\n",
        "    except ValueError:\n",
        (FAULTS + "test_a_list_deeper_than_a_parser_goes_is_a_failure",),
        "a server could end every run with a fault",
    ),
    Mutation(
        "bw's placeholder delivered",
        HERE + "answers.py",
        '_NOTHING: Final = (None, "", _CANNOT)',
        '_NOTHING: Final = (None, "")',
        (ANSWERS + "test_bws_placeholder_for_what_it_cannot_decrypt_is_no_value",),
        "a tenant would get words instead of its secret",
    ),
    Mutation(
        "helper not compared",
        HERE + "helper.py",
        "    if found != recorded:\n",
        "    if False:\n",
        (FAULTS + "test_a_helper_that_was_changed_is_not_run",),
        "a changed bw would be given the account",
    ),
    Mutation(
        "refused version accepted",
        HERE + "helper.py",
        "    if version in _REFUSED:\n",
        "    if False:\n",
        (HELPER + "test_the_credential_stealer_is_refused_by_name_even_if_vouched_for",),
        "the credential stealer",
    ),
    Mutation(
        "helper writable by others",
        "vault_svc/hazmat/treehash.py",
        "    if found.st_mode & 0o022:\n",
        "    if False:\n",
        (HELPER + "test_what_others_may_write_is_refused",),
        "others could change what runs with the account",
    ),
    Mutation(
        "words on stderr ignored",
        HERE + "failures.py",
        "        raise failure(step, stderr)\n",
        "        return False\n",
        (WORDS + "test_lists_may_complain_of_decryption_and_of_nothing_else",),
        "silent data loss",
    ),
    Mutation(
        "missing items not noticed",
        HERE + "answers.py",
        '        return f"item {item_id} could not be decrypted"\n',
        '        return ""\n',
        (ANSWERS + "test_a_silently_missing_item_breaks_its_collections_and_no_other",),
        "bw leaves out what it cannot decrypt and ends with 0",
    ),
    Mutation(
        "hidden passwords not noticed",
        HERE + "answers.py",
        "isinstance(value, str) and shown.get(name) in _NOTHING:\n",
        "False:\n",
        (ANSWERS + "test_a_silently_missing_password_breaks_that_collection_alone",),
        "a login without its password",
    ),
    Mutation(
        "items of another organisation taken",
        HERE + "answers.py",
        'or given.get("organizationId") != organization_id:\n            raise',
        "or False:\n            raise",
        (ANSWERS + "test_an_item_that_is_not_where_the_sync_put_it_is_a_failure",),
        "bw's filters are OR-ed",
    ),
    Mutation(
        "shared items delivered",
        HERE + "items.py",
        "    if len(item.collection_ids) > 1 and item.id not in rules.shared_items:\n",
        "    if False:\n",
        (ITEMS + "test_an_item_in_two_collections_is_refused_unless_policy_allows_that_item",),
        "one tenant's secret in another's jail",
    ),
    Mutation(
        "a variable twice: the last wins",
        HERE + "items.py",
        "            if name in found:\n",
        "            if False:\n",
        (ITEMS + "test_the_same_variable_twice_is_refused_and_both_items_are_named",),
        "which of two was meant",
    ),
    Mutation(
        "renamed collection delivered",
        HERE + "source.py",
        "        if found.name != ref.name:\n",
        "        if False:\n",
        (
            "tests/contract/test_source_contract.py::test_a_name_with_another_id_is_a_mismatch[vaultwarden]",
        ),
        "name and id must agree at each delivery",
    ),
    Mutation(
        "refused credentials tried again",
        HERE + "breaker.py",
        '        self._write({"state": "open", "since": self.clock.now(), "why": error.message})\n',
        "        pass\n",
        (BREAKER + "test_a_refused_account_is_not_tried_again_by_any_process",),
        "lock-outs",
    ),
    Mutation(
        "private directory left",
        "vault_svc/hazmat/scratchdir.py",
        "            os.close(fd)\n            trees.delete_tree(parent, name, path)\n",
        "            os.close(fd)\n",
        (FAULTS + "test_a_read_is_one_session_and_leaves_nothing",),
        "the API key in clear would stay",
    ),
    Mutation(
        "private directory not swept",
        "vault_svc/hazmat/scratchdir.py",
        "        _sweep(parent, base, prefix)\n",
        "        pass\n",
        (FAULTS + "test_when_we_are_killed_so_is_the_child_and_the_next_read_sweeps",),
        "what a killed run left",
    ),
    Mutation(
        "children outlive us",
        "vault_svc/hazmat/tie.py",
        "        if call() != 0:\n",
        "        if False:\n",
        (FAULTS + "test_when_we_are_killed_so_is_the_child_and_the_next_read_sweeps",),
        "an unlocked bw serve without its reader",
    ),
    Mutation(
        "signals act at once",
        HERE + "session.py",
        "            ending.held_back(),\n",
        "",
        (FAULTS + "test_a_signal_ends_us_only_after_everything_is_gone",),
        "SIGTERM in the middle of a session",
    ),
    Mutation(
        "password in the arguments",
        HERE + "cli_transport.py",
        'arguments = ("unlock", "--raw", "--passwordfile", f"/dev/fd/{ours}")',
        'arguments = ("unlock", "--raw", "--passwordfile", f"/dev/fd/{ours}", '
        "appdata.account.password.reveal())",
        (FAULTS + "test_no_secret_is_in_an_argument_and_one_at_most_in_an_environment",),
        "arguments are for everybody to read",
    ),
    Mutation(
        "older content over newer",
        "vault_svc/services/planning.py",
        "    return row.source, row.collection_id, row.generation\n",
        "    return row.source, row.collection_id, 0\n",
        (TOGETHER + "test_what_was_read_before_a_newer_delivery_is_not_delivered_over_it",),
        "a snapshot that is older than the last delivery",
    ),
    Mutation(
        "old account replaced unproven",
        HERE + "admin.py",
        "        content = self.collections_of(account, wanted)\n        proven",
        "        self.credentials.put(self.uri, account.blob())\n"
        "        content = self.collections_of(account, wanted)\n        proven",
        (LOGIN + "test_the_old_account_stays_when_the_new_one_is_not_proven",),
        "a slip at the prompt would end every delivery",
    ),
)
