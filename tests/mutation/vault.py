"""Mutations of the Vault source: each rule that keeps tenants and tokens apart, broken once."""

from __future__ import annotations

from tests.mutation.runner import Mutation

HERE = "vault_svc/adapters/sources/vault/"
FAULTS = "tests/vault/test_faults.py::"
SOURCE = "tests/vault/test_source.py::"
LOGIN = "tests/vault/test_login.py::"
AROUND = "tests/vault/test_environment.py::"
RECORDED = "tests/vault/test_recordings.py::"
POLICIES = "tests/vault/test_policies.py::"
CLI = "tests/vault/test_cli.py::"

VAULT = (
    Mutation(
        "what the role made is not looked at",
        HERE + "client.py",
        '        if auth.get("policies") != [policy] or auth.get("num_uses") != uses:\n',
        "        if False:\n",
        (RECORDED + "test_a_mint_that_gave_something_else_is_refused",),
        "a role that was widened would go unnoticed",
    ),
    Mutation(
        "redirects followed",
        HERE + "wire.py",
        "                allow_redirects=False,\n",
        "                allow_redirects=True,\n",
        (FAULTS + "test_no_redirect_is_followed",),
        "the token would go to whoever the server names",
    ),
    Mutation(
        "the library's authorities beside the pinned one",
        HERE + "wire.py",
        '        conn.cert_reqs = "CERT_REQUIRED"\n',
        "        super().cert_verify(conn, url, True, None)\n",
        (AROUND + "test_only_the_pinned_authority_counts",),
        "any public authority could vouch for another server",
    ),
    Mutation(
        "proxies of the environment",
        HERE + "wire.py",
        "    made.trust_env = False\n",
        "",
        (AROUND + "test_a_whole_delivery_with_everything_planted",),
        "a variable would send every secret through somebody's proxy",
    ),
    Mutation(
        "answers without a bound",
        HERE + "wire.py",
        "            if size > self._options.max_answer_bytes:\n",
        "            if False:\n",
        (FAULTS + "test_an_answer_over_the_bound_is_cut_off",),
        "a server could fill the memory",
    ),
    Mutation(
        "a wrapping token of anything",
        HERE + "login.py",
        "        if not (path.startswith",
        "        if False and not (path.startswith",
        (LOGIN + "test_a_wrapping_token_of_something_else_is_not_unwrapped",),
        "a swapped secret id would be taken",
    ),
    Mutation(
        "version without its birth",
        HERE + "client.py",
        '    return f"{version}@{created[:40]}"\n',
        "    return str(version)\n",
        (SOURCE + "test_a_collection_made_anew_is_not_taken_for_the_old_one",),
        "an old secret would stay delivered",
    ),
    Mutation(
        "id and name need not agree",
        HERE + "places.py",
        "        if self.ref(ref.name).collection_id != ref.collection_id or not is_name(ref.name"
        "):\n",
        "        if not is_name(ref.name):\n",
        (SOURCE + "test_a_row_of_another_mount_is_a_mismatch",),
        "a login at another mount would deliver its secrets",
    ),
    Mutation(
        "values made strings",
        HERE + "values.py",
        "        if not isinstance(value, str):\n",
        "        value = str(value)\n        if False:\n",
        (SOURCE + "test_a_value_that_is_no_string_is_refused_by_name",),
        "None and True would be delivered as words",
    ),
    Mutation(
        "unchanged is believed without a second look",
        "vault_svc/services/batch.py",
        "        if not isinstance(newest, Receipt) or revision != resolved.revision:\n",
        "        if not isinstance(newest, Receipt):\n",
        (CLI + "test_a_file_spoiled_between_the_question_and_the_lock_is_written_again",),
        "a file that was changed meanwhile would stay",
    ),
    Mutation(
        "a changed row is still called unchanged",
        "vault_svc/services/agreement.py",
        "    if (newest.at, newest.path) != (row.updated_at, row.env_path) or not newest.keys:\n",
        "    if newest.path != row.env_path or not newest.keys:\n",
        (CLI + "test_what_differs_here_is_never_called_unchanged",),
        "a new profile would not reach the file",
    ),
    Mutation(
        "drift unseen where the server is not asked for values",
        "vault_svc/services/agreement.py",
        '        return newest.source_revision if agrees(context, row, newest) else ""\n',
        "        return newest.source_revision\n",
        (CLI + "test_what_differs_here_is_never_called_unchanged",),
        "a tenant's own change of its file would stay",
    ),
)
