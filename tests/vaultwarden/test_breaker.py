"""Refused credentials are not tried again, and a slowed-down server is left alone for a while."""

from __future__ import annotations

import os

import pytest

from tests.kit.memory import TurnableClock
from tests.kit.places import private_directory
from vault_svc.adapters.sources.vaultwarden.breaker import FILE, Breaker
from vault_svc.adapters.sources.vaultwarden.options import Options
from vault_svc.errors import ColibriError


class Server:
    """Answers with what it is told, and counts how often it was asked."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self) -> str:
        self.asked += 1
        answer = self.answers.pop(0) if self.answers else "fine"
        if answer != "fine":
            raise ColibriError(answer, f"the server says {answer}", hint="wait")
        return answer


class Host:
    """Breakers of one host: each is another process's."""

    def __init__(self, home) -> None:
        self.options = Options(str(home), backoff_seconds=20.0, backoff_limit_seconds=90.0)
        self.clock = TurnableClock()
        self.slept: list[float] = []

    def breaker(self) -> Breaker:
        return Breaker(self.options, self.clock, self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.turn(seconds)


@pytest.fixture
def host():
    with private_directory() as home:
        yield Host(home)


def code_of(call) -> str:
    with pytest.raises(ColibriError) as caught:
        call()
    assert caught.value.hint
    return caught.value.code


def test_a_refused_account_is_not_tried_again_by_any_process(host):
    server = Server("source_auth_failed")
    assert code_of(lambda: host.breaker().call(server)) == "source_auth_failed"
    for _ in range(3):
        assert code_of(lambda: host.breaker().call(server)) == "source_auth_failed"
    assert server.asked == 1
    assert "open since" in host.breaker().state()


def test_a_person_may_try_and_a_success_closes_the_circuit(host):
    server = Server("source_auth_failed", "source_auth_failed")
    for _ in range(2):
        code_of(lambda: host.breaker().probe(server))
    assert code_of(lambda: host.breaker().call(server)) == "source_auth_failed"
    assert host.breaker().probe(server) == "fine"
    assert host.breaker().call(server) == "fine"
    assert host.breaker().state() == ""
    assert server.asked == 4


@pytest.mark.parametrize(
    "code", ["source_unreachable", "source_forbidden", "source_incomplete", "server_mismatch"]
)
def test_other_failures_open_nothing_and_are_not_repeated(host, code):
    server = Server(code)
    assert code_of(lambda: host.breaker().call(server)) == code
    assert host.breaker().call(server) == "fine"
    assert server.asked == 2
    assert host.slept == []


def test_a_rate_limit_is_waited_out_with_jitter_and_doubling(host):
    server = Server("source_rate_limited", "source_rate_limited")
    assert host.breaker().call(server) == "fine"
    assert server.asked == 3
    assert 10 <= host.slept[0] <= 30
    assert 20 <= host.slept[1] <= 60


def test_waits_of_processes_refused_together_differ(host):
    for _ in range(8):
        host.breaker().call(Server("source_rate_limited"))
    assert len(set(host.slept)) > 1


def test_the_wait_of_one_run_has_a_bound(host):
    server = Server(*["source_rate_limited"] * 20)
    assert code_of(lambda: host.breaker().call(server)) == "source_rate_limited"
    assert sum(host.slept) <= 90
    assert server.asked <= 4


def test_another_process_does_not_ask_before_the_door_opens(host):
    slow = Server(*["source_rate_limited"] * 20)
    code_of(lambda: host.breaker().call(slow))
    server = Server()
    hasty = Breaker(
        Options(host.options.data_dir, backoff_limit_seconds=1.0), host.clock, host._sleep
    )
    assert code_of(lambda: hasty.call(server)) == "source_rate_limited"
    assert server.asked == 0
    host.clock.turn(500)
    assert hasty.call(server) == "fine"


def test_a_clock_that_is_set_back_does_not_shut_the_door_for_ever(host):
    code_of(lambda: host.breaker().call(Server(*["source_rate_limited"] * 20)))
    host.clock.turn(-86_400 * 365)
    state = host.breaker().state()
    assert "slow down" in state
    assert float(state.split(";")[1].split()[0]) <= 4 * 90


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00"])
def test_a_damaged_file_is_said_and_nothing_is_asked(host, text):
    path = f"{host.options.data_dir}/{FILE}"
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, 0o600)
    server = Server()
    assert code_of(lambda: host.breaker().call(server)) == "unsafe_base"
    assert server.asked == 0
