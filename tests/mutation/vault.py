"""Mutations of the Vault source: each rule that keeps tenants and tokens apart, broken once."""

from __future__ import annotations

from tests.mutation.runner import Mutation

HERE = "vault_svc/adapters/sources/vault/"
FAULTS = "tests/vault/test_faults.py::"
RECORDED = "tests/vault/test_recordings.py::"

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
        "        transport = self.session.get_adapter(str(prepared.url))\n",
        "        prepared._cookies = self.session.cookies\n        transport = self.session\n",
        (FAULTS + "test_no_redirect_is_followed",),
        "the token would go to whoever the server names",
    ),
)
