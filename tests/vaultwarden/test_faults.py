"""Each fault is on the wire what it says, and the real bw takes it as bw.md measured."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.kit import bw
from tests.kit.bw_client import Client
from tests.kit.vaultwarden import (
    Cut,
    Double,
    Edit,
    Field,
    Redirect,
    Reset,
    Slow,
    Status,
    Truncated,
)
from tests.vaultwarden.test_bw import by_name, ready


def ask(double: Double, path: str = "/api/config") -> tuple[int, bytes]:
    context = ssl.create_default_context(cafile=double.ca_file)
    server = http.client.HTTPSConnection("127.0.0.1", double.port, timeout=20, context=context)
    try:
        server.request("GET", path)
        answer = server.getresponse()
        return answer.status, answer.read()
    finally:
        server.close()


@pytest.mark.parametrize("code", [401, 403, 429, 500, 502])
def test_a_refusal_has_its_status(double, code):
    double.faults.at("config", Status(code))
    status, body = ask(double)
    assert status == code
    assert json.loads(body)


def test_a_gateway_answers_with_a_page(double):
    double.faults.at("config", Status(502, html=True))
    assert ask(double)[1].startswith(b"<html>")


def test_a_fault_comes_after_so_many_and_so_often(double):
    double.faults.at("config", Status(500), after=1, times=2)
    assert [ask(double)[0] for _ in range(4)] == [200, 500, 500, 200]
    double.faults.everywhere(Status(503))
    assert [ask(double)[0], ask(double, "/api/alive")[0]] == [503, 503]
    double.faults.clear()
    assert ask(double)[0] == 200
    assert [entry.status for entry in double.log.entries] == [200, 500, 500, 200, 503, 503, 200]


def test_a_body_is_cut_short_or_its_connection_is(double):
    whole = ask(double)[1]
    double.faults.at("config", Truncated(), times=1)
    assert ask(double) == (200, whole[: len(whole) // 2])
    double.faults.at("config", Cut(), times=1)
    with pytest.raises(http.client.IncompleteRead):
        ask(double)
    double.faults.at("config", Reset(), times=1)
    with pytest.raises(http.client.RemoteDisconnected):
        ask(double)
    assert ask(double) == (200, whole)


def test_a_document_is_edited(double):
    double.faults.at("config", Edit(lambda document: {**document, "version": "1"}))
    assert json.loads(ask(double)[1])["version"] == "1"


def test_a_slow_answer_is_late(double):
    double.faults.at("config", Slow(0.3), times=1)
    start = time.monotonic()
    assert ask(double)[0] == 200
    assert time.monotonic() - start >= 0.3


def test_a_stopping_server_lets_a_hung_caller_go(double):
    double.faults.at("config", Slow(3600))
    with ThreadPoolExecutor(1) as pool:
        hung = pool.submit(ask, double)
        while not double.log.count("config"):
            time.sleep(0.01)
        double.close()
        # The caller's own limit is 20 seconds: a TimeoutError would mean it was let hang.
        with contextlib.suppress(ConnectionError, ssl.SSLError, http.client.HTTPException):
            hung.result(timeout=15)


@pytest.mark.parametrize("wrong", ["unknown", "host", "expired"])
def test_a_wrong_certificate_is_refused_by_who_checks(double, wrong):
    double.show_certificate(wrong)
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(double)


def test_a_stopped_double_refuses_and_comes_back(double):
    double.close()
    with pytest.raises(ConnectionRefusedError):
        ask(double)
    double.reopen()
    assert ask(double)[0] == 200


def logged_in(double: Double, tmp_path) -> Client:
    client = Client(bw.installed(), double, tmp_path)
    client.config()
    return client


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Status(429), "Too Many Requests"),
        (Status(500, "boom"), "boom"),
        (Status(502, html=True), "502"),
        (Status(400, "Incorrect client_secret"), "Incorrect client_secret"),
    ],
)
def test_a_refused_login_says_why(double, tmp_path, fault, words):
    double.faults.at("token", fault)
    said = logged_in(double, tmp_path).login()
    assert (said.status, said.out) == (1, "")
    assert words in said.err or "Rate limit exceeded" in said.err


def test_a_login_that_is_cut_off_looks_like_success_and_says_nothing(double, tmp_path):
    double.faults.at("token", Cut())
    said = logged_in(double, tmp_path).login()
    assert (said.status, said.out, said.err) == (0, "", "")


@pytest.mark.full
@pytest.mark.parametrize("fault", [Status(500, "boom"), Truncated()])
def test_a_login_whose_sync_fails_is_a_login_with_an_empty_vault(double, tmp_path, fault):
    double.add_login(double.add_collection("acme"), "API_KEY", "s")
    double.faults.at("sync", fault)
    client = logged_in(double, tmp_path)
    assert client.login().status == 0
    assert client.run("status").json()["lastSync"] is None


@pytest.mark.full
@pytest.mark.parametrize("code", [401, 403])
def test_a_refused_call_logs_bw_out(double, tmp_path, code):
    client = ready(double, tmp_path)
    double.faults.at("sync", Status(code))
    assert client.run("sync", "-f", BW_SESSION=client.session).status == 1
    assert client.run("status").json()["status"] == "unauthenticated"


def test_a_redirect_to_plain_http_carries_the_secret_there(double, tmp_path):
    """Bw follows it; the log of the other server is how a test would see a leak."""
    with Double(tmp_path, seed="elsewhere", tls=False) as elsewhere:
        elsewhere.log.watch("theirs", double.client_secret)
        double.faults.at("token", Redirect(f"{elsewhere.url}/identity/connect/token"))
        assert logged_in(double, tmp_path).login().status == 1
        assert elsewhere.log.seen() == {"theirs"}


@pytest.mark.full
def test_spoiled_parts_are_missing_and_only_stderr_tells(double, tmp_path):
    acme = double.add_collection("acme")
    for part in ("key", "password", "notes", "field", "name"):
        made = double.add_login(acme, part, "v", notes="n", fields=[Field("f", "x")])
        double.corrupt(made, part)
    said = ready(double, tmp_path).list("items")
    found = by_name(said.json())
    assert said.status == 0
    assert "Failed to decrypt cipher" in said.err
    assert set(found) == {"password", "notes", "field", ""}
    assert "password" not in found["password"]["login"]
    assert "notes" not in found["notes"]
    assert "value" not in found["field"]["fields"][0]


@pytest.mark.full
def test_another_organisation_key_decrypts_nothing(double, tmp_path):
    acme = double.add_collection("acme")
    double.add_login(acme, "OWN", "v")
    double.add_login(acme, "PLAIN", "v", own_key=False)
    double.swap_organization_key()
    client = ready(double, tmp_path)
    said = client.list("items")
    assert said.status == 0
    assert [item["name"] for item in said.json()] == [""]
    assert client.list("collections").json() == []


@pytest.mark.full
def test_a_new_stamp_ends_tokens(double, tmp_path):
    client = ready(double, tmp_path)
    double.new_stamp()
    assert client.run("sync", BW_SESSION=client.session).status == 1
    assert client.run("status").json()["status"] == "unauthenticated"


@pytest.mark.full
def test_a_clock_behind_hides_a_change_from_a_plain_sync(double, tmp_path):
    client = ready(double, tmp_path)
    double.set_clock(-3600)
    double.add_collection("new")
    assert client.run("sync", BW_SESSION=client.session).out == "Syncing complete."
    assert client.list("collections").json() == []
    client.run("sync", "-f", BW_SESSION=client.session)
    assert len(client.list("collections").json()) == 1
