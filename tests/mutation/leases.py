"""Mutations of dynamic secrets: each rule that keeps a login from outliving its delivery."""

from __future__ import annotations

from tests.mutation.runner import Mutation

SERVICES = "vault_svc/services/"
DELIVERY = "tests/leases/test_delivery.py::"
RENEWAL = "tests/leases/test_renewal.py::"
ENDING = "tests/leases/test_ending.py::"
RULES = "tests/unit/test_lease_rules.py::"

LEASES = (
    Mutation(
        "file believed without its receipt",
        SERVICES + "read_back.py",
        "    return digest == newest.digest\n",
        "    return True\n",
        (DELIVERY + "test_a_file_the_tenant_changed_is_not_believed",),
        "the jail would tell colibri what its login is",
    ),
    Mutation(
        "old lease ended before the new one is delivered",
        SERVICES + "leasing.py",
        "        left = [lease for lease in begun.plan.over if lease.state is not State.LIVE]\n",
        "        left = list(begun.plan.over)\n",
        (DELIVERY + "test_a_lost_file_gets_a_new_lease_and_the_old_one_ends_after_it",),
        "a tenant would hold a dead login while the new one is made",
    ),
    Mutation(
        "nothing recorded before it is asked for",
        SERVICES + "leasing.py",
        "        self._context.leases.record([asked])\n",
        "",
        (RULES + "test_a_row_stands_before_the_server_is_asked",),
        "a lease whose answer was lost would live on unknown",
    ),
    Mutation(
        "end believed without a look",
        SERVICES + "lease_ending.py",
        "            if source.is_alive(lease.lease_id):\n",
        "            if False:\n",
        (ENDING + "test_a_server_that_only_claims_to_end_is_found_out",),
        "a revocation would be claimed that is none",
    ),
    Mutation(
        "dead value left in the jail",
        SERVICES + "renewal.py",
        "            if pulse.dead:\n                return self._taken_out(",
        "            if False:\n                return self._taken_out(",
        (RENEWAL + "test_an_outage_past_the_end_takes_the_dead_value_out",),
        "a login that is over would stay",
    ),
    Mutation(
        "leases never looked up",
        SERVICES + "lease_pulse.py",
        "        if lease.lease_id and not context.lease_source().is_alive(lease.lease_id):\n",
        "        if False:\n",
        (RENEWAL + "test_revoked_behind_our_back_it_is_replaced",),
        "a lease revoked at the server would go unnoticed",
    ),
    Mutation(
        "suspend ends no lease",
        SERVICES + "removal.py",
        "        ended = self._end_leases(row, action) + self._end_access(row, action)\n",
        "        ended = self._end_access(row, action)\n",
        (ENDING + "test_leases_and_token_end_and_are_looked_up",),
        "the login would outlive the file",
    ),
    Mutation(
        "two kinds of one variable",
        SERVICES + "leasing.py",
        "            _refuse_ambiguous(tenant, found, standing)\n",
        "",
        (DELIVERY + "test_a_variable_of_both_kinds_is_refused_and_nothing_changes",),
        "the leased value would silently replace the collection's",
    ),
    Mutation(
        "failed asks pile up",
        SERVICES + "leasing.py",
        "        except ColibriError:\n            self._undo(begun)\n            raise\n",
        "        except ColibriError:\n            raise\n",
        (DELIVERY + "test_what_was_asked_for_in_vain_ends_at_once",),
        "each retry would leave an account in the database",
    ),
    Mutation(
        "any token of the role taken",
        "vault_svc/adapters/sources/vault/lease_answers.py",
        '    as_asked = auth.get("policies") == [policy] and auth.get("renewable") is True\n',
        "    as_asked = True\n",
        (RULES + "test_a_token_that_can_more_than_was_asked_for_is_refused",),
        "a role that was changed would hand out wider tokens",
    ),
)
