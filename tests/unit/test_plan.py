from __future__ import annotations

from dataclasses import replace

import pytest

from vault_svc.domain.plan import Known, Step, decide
from vault_svc.domain.receipt import Found, Intent
from vault_svc.domain.tenant import Action, Status, Tenant, next_status
from vault_svc.errors import ColibriError

CONTENT, DIGEST = b"A=1\n", "k1:aa"
ROW = Tenant(
    "acme", "h", "directory", "acme", "/j/acme/root", "embedded", "acme", "id", "universal",
    "file", (), "/.env", 1000, 1000, "standard", Status.ACTIVE, 4, None, "t", "t",
)  # fmt: skip
SOUND = Found("file", CONTENT, 0o600, 1000, 1000, 1, 1, 1, 1, len(CONTENT))


def intent(generation, digest=DIGEST):
    return Intent("acme", generation, digest, ("A",), "t")


def plan(found=SOUND, intents=(), recorded=True, row=ROW):
    return decide(Known(row, None, tuple(intents)), found, CONTENT, DIGEST, recorded=recorded)


def test_nothing_to_do_when_file_bytes_and_receipt_agree():
    assert plan().step is Step.NOTHING


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"content": b"A=2\n"}, "bytes"),
        ({"mode": 0o644}, "mode"),
        ({"uid": 0}, "owner"),
        ({"gid": 0}, "owner"),
        ({"nlink": 2}, "links"),
        ({"kind": "missing"}, "missing"),
        ({"kind": "symlink"}, "replaced by symlink"),
    ],
)
def test_every_difference_is_written_anew_under_the_next_generation(change, word):
    made = plan(replace(SOUND, **change))
    assert (made.step, made.generation, made.drift) == (Step.WRITE, 5, (word,))


def test_an_open_intent_of_the_same_bytes_gives_its_generation():
    made = plan(intents=[intent(5)])
    assert (made.step, made.generation, made.announced) == (Step.ADOPT, 5, True)


def test_an_open_intent_of_other_bytes_raises_the_generation_past_it():
    made = plan(intents=[intent(7, "k1:bb")])
    assert (made.step, made.generation, made.announced) == (Step.ADOPT, 8, False)


def test_a_file_without_receipt_is_adopted_not_rewritten():
    assert plan(recorded=False).step is Step.ADOPT


def test_a_resumed_tenant_is_never_a_no_op():
    assert plan(row=replace(ROW, status=Status.REGISTERED)).step is Step.ADOPT


ALLOWED = {
    (Action.PROVISION, Status.REGISTERED): Status.ACTIVE,
    (Action.PROVISION, Status.ACTIVE): Status.ACTIVE,
    (Action.SUSPEND, Status.REGISTERED): Status.SUSPENDED,
    (Action.SUSPEND, Status.ACTIVE): Status.SUSPENDED,
    (Action.SUSPEND, Status.SUSPENDED): Status.SUSPENDED,
    (Action.REVOKE, Status.REGISTERED): Status.SUSPENDED,
    (Action.REVOKE, Status.ACTIVE): Status.SUSPENDED,
    (Action.REVOKE, Status.SUSPENDED): Status.SUSPENDED,
    (Action.RESUME, Status.SUSPENDED): Status.REGISTERED,
    (Action.RESUME, Status.REGISTERED): Status.REGISTERED,
    (Action.RESUME, Status.ACTIVE): Status.ACTIVE,
    **{(Action.OFFBOARD, status): Status.OFFBOARDED for status in Status},
}


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("action", Action)
def test_transitions_are_these_and_no_others(action, status):
    row = replace(ROW, status=status)
    wanted = ALLOWED.get((action, status))
    if wanted:
        assert next_status(row, action) is wanted
        return
    with pytest.raises(ColibriError) as caught:
        next_status(row, action)
    assert caught.value.code == f"tenant_{status}"
