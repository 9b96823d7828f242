"""The system's clock in the one form that records use."""

from __future__ import annotations

import datetime as dt
import re
import time

from vault_svc.adapters.clock import SystemClock


def test_now_is_utc_with_milliseconds():
    before = time.time()
    text = SystemClock().now()
    after = time.time()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    said = dt.datetime.fromisoformat(text).timestamp()
    assert before - 0.001 <= said <= after


def test_known_instants(monkeypatch):
    for ns, text in (
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_231_440_007_999_999, "2026-11-21T03:24:00.007Z"),
        (951_782_399_999_000_000, "2000-02-28T23:59:59.999Z"),
    ):
        monkeypatch.setattr(time, "time_ns", lambda ns=ns: ns)
        assert SystemClock().now() == text


def test_the_time_zone_of_the_host_does_not_matter(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        monkeypatch.setattr(time, "time_ns", lambda: 0)
        assert SystemClock().now() == "1970-01-01T00:00:00.000Z"
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


def test_monotonic_time_does_not_fall():
    clock = SystemClock()
    seen = [clock.monotonic() for _ in range(100)]
    assert seen == sorted(seen)
