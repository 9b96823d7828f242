from __future__ import annotations

import pytest

from vault_svc.domain import names
from vault_svc.errors import ColibriError


@pytest.mark.parametrize("good", ["a", "acme", "a1", "my-tenant", "a" * 32, "ops-team", "webby"])
def test_tenant_ids_that_pass(good):
    assert names.tenant_id(good) == good


@pytest.mark.parametrize(
    "bad",
    [
        "", "A", "1a", "-a", "a-", "a--b", "a" * 33, "a_b", "a.b", "a/b", "../a", "a b", "a\n", "ä",
        "ALL", "a\0", "-x", "a:b", "\u202eabc", "а",
    ],
)  # fmt: skip
def test_tenant_ids_that_are_no_names(bad):
    with pytest.raises(ColibriError) as caught:
        names.tenant_id(bad)
    assert caught.value.code == "tenant_name_refused"
    assert "\n" not in caught.value.line()
    assert caught.value.line().isprintable()


@pytest.mark.parametrize(
    "reserved",
    ["system", "clawdie", "colibri", "root", "all", "host", "x-ops", "x-brain", "my-web", "a-git"],
)
def test_reserved_tenant_ids(reserved):
    with pytest.raises(ColibriError) as caught:
        names.tenant_id(reserved)
    assert caught.value.code == "tenant_reserved"


@pytest.mark.parametrize("good", ["A", "API_KEY", "_X", "A" * 128, "PATHS", "LDAP", "GITHUB_TOKEN"])
def test_variables_that_pass(good):
    assert names.variable(good) == good


@pytest.mark.parametrize(
    "bad",
    [
        "", "a", "1A", "_", "__", "A-B", "A.B", "A B", "A=B", "A" * 129, "Ä", "A\n", "PATH", "IFS",
        "LD_PRELOAD", "PYTHONPATH", "GIT_SSH", "BW_SESSION", "VAULT_TOKEN", "COLIBRI_HOST",
        "NODE_OPTIONS", "BASH_ENV", "DYLD_X", "PERL5LIB", "BAO_ADDR", "RUBYOPT", "UID",
    ],
)  # fmt: skip
def test_variables_that_are_refused(bad):
    with pytest.raises(ColibriError) as caught:
        names.variable(bad)
    assert caught.value.code == "secret_name_refused"


def test_policy_lets_a_refused_variable_through_by_name_only():
    allowed = frozenset({"GIT_TOKEN"})
    assert names.variable("GIT_TOKEN", allowed=allowed) == "GIT_TOKEN"
    with pytest.raises(ColibriError):
        names.variable("GIT_SSH", allowed=allowed)


@pytest.mark.parametrize("bad", ["t1 ", "ALL", "all", "12", "../x", "-x", "a\nb", "t*", "host"])
def test_jail_names_that_an_engine_could_read_as_something_else(bad):
    with pytest.raises(ColibriError) as caught:
        names.jail_name(bad)
    assert caught.value.code == "jail_name_refused"
