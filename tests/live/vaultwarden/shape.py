"""Reduces an answer to what a client can rely on, so that two servers' answers can be compared."""

from __future__ import annotations

import re
from typing import Any

_ID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_KINDS = (
    (r"2\.[A-Za-z0-9+/=]+\|[A-Za-z0-9+/=]+\|[A-Za-z0-9+/=]+", "<sealed>"),
    (r"4\.[A-Za-z0-9+/=]+", "<sealed for a key>"),
    (_ID, "<id>"),
    (rf"user\.{_ID}", "<client id>"),
    (r"[\w.-]+@[\w.-]+", "<e-mail>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", "<time>"),
    (r"https://127\.0\.0\.1:\d+(/[a-z]*)*.*", "<our url>"),
    (r"eyJ[\w-]+\.[\w-]+\.[\w-]+", "<token>"),
    (r"[A-Za-z0-9+/=]{200,}", "<public key>"),
    (r"[0-9a-f]{20}", "<file id>"),
)


def shape(value: Any, key: str = "") -> Any:
    """Return value with everything that differs from run to run named by its kind."""
    if isinstance(value, dict):
        return {name: shape(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value]
    if key == "gitHash":
        return "<revision or none>"
    if isinstance(value, str):
        return next((kind for form, kind in _KINDS if re.fullmatch(form, value)), value)
    if key in {"nbf", "exp"} and isinstance(value, int):
        return "<seconds>"
    return value


def differences(double: Any, real: Any, at: str = "") -> list[str]:
    """Return each place where the double's shape is not the real one's, in words."""
    if isinstance(double, dict) and isinstance(real, dict):
        found = [f"{at}.{name}: only the double" for name in double.keys() - real.keys()]
        found += [f"{at}.{name}: only the real one" for name in real.keys() - double.keys()]
        for name in double.keys() & real.keys():
            found += differences(double[name], real[name], f"{at}.{name}")
        return found
    if isinstance(double, list) and isinstance(real, list) and len(double) == len(real):
        pairs = zip(double, real, strict=True)
        return [each for n, pair in enumerate(pairs) for each in differences(*pair, f"{at}[{n}]")]
    return [] if double == real else [f"{at}: double {double!r}, real {real!r}"]
