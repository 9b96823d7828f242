"""The double's answers: one table from method and path to what Vaultwarden would say."""

from __future__ import annotations

import hmac
import re
import urllib.parse
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.kit.vaultwarden import shapes
from tests.kit.vaultwarden.faults import Answer
from tests.kit.vaultwarden.server import Request
from tests.kit.vaultwarden.world import Role

if TYPE_CHECKING:
    from tests.kit.vaultwarden.double import Double

_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def step_of(path: str) -> str:
    """Return the step of a session that a path belongs to; faults are armed by step."""
    return next((step for step, pattern in _STEPS if re.fullmatch(pattern, path)), "other")


_STEPS = (
    ("token", "/identity/connect/token"),
    ("config", "/api/config"),
    ("sync", "/api/sync"),
    ("revision", "/api/accounts/revision-date"),
    ("collections", rf"/api/(?:organizations/{_ID}/)?collections"),
    ("key_id", "/api/accounts/key-management/user-key-id"),
    ("profile", "/api/accounts/profile"),
)


def answer(double: Double, request: Request) -> Answer:
    """Answer a request as it should be answered; faults are not known here."""
    for method, pattern, authorised, act in _TABLE:
        match = re.fullmatch(pattern, request.path)
        if match is None or method != request.method:
            continue
        if authorised and not _authorised(double, request):
            return _caught(request, shapes.UNAUTHORIZED)
        return act(double, request, *match.groups())
    return _caught(request, shapes.NOT_FOUND, always_json=request.path.startswith("/api/"))


def _caught(request: Request, refusal: shapes.Json, *, always_json: bool = False) -> Answer:
    """Refuse as the web framework does: in JSON only for callers that ask for it."""
    code = refusal["error"]["code"]
    if always_json or "application/json" in request.headers.get("Accept", ""):
        return Answer.of(refusal, code)
    return Answer(code, shapes.page(refusal).encode(), "text/html; charset=utf-8")


def _authorised(double: Double, request: Request) -> bool:
    kind, _, token = request.headers.get("Authorization", "").partition(" ")
    if kind != "Bearer" or token.count(".") != 2:
        return False
    claims = shapes.claims_of(token, double.signing_key)
    if claims is None or claims["exp"] <= double.store.now():
        return False
    return claims["sstamp"] == double.store.stamp


def _token(double: Double, request: Request) -> Answer:
    form = dict(urllib.parse.parse_qsl(request.body.decode(), keep_blank_values=True))
    device = form.get("deviceIdentifier", "")
    if refusal := _refused(double, form, device):
        return Answer.of(shapes.error(refusal), 400)
    token = shapes.bearer(
        double.store, double.account, double.user_id, device, double.url, double.signing_key
    )
    return Answer.of(shapes.token(double.account, token))


_OWNER_OF = {"api": "user.", "api.organization": "organization."}


def _refused(double: Double, form: dict[str, str], device: str) -> str:
    """Return Vaultwarden's message for a request it refuses, in the order it checks."""
    client_id = form.get("client_id", "")
    known = {double.client_id: double.client_secret}
    checks: tuple[tuple[bool, str], ...] = (
        (form.get("grant_type") == "client_credentials", "Invalid type"),
        ("client_id" in form, "client_id cannot be blank"),
        ("client_secret" in form, "client_secret cannot be blank"),
        ("scope" in form, "scope cannot be blank"),
        (bool(device), "device_identifier cannot be blank"),
        ("deviceName" in form, "device_name cannot be blank"),
        ("deviceType" in form, "device_type cannot be blank"),
        (form.get("scope") in _OWNER_OF, "Scope not supported"),
        (client_id.startswith(_OWNER_OF.get(form.get("scope", ""), "")), "Malformed client_id"),
        (client_id in known, "Invalid client_id"),
        (_same(form.get("client_secret", ""), known.get(client_id, "")), "Incorrect client_secret"),
    )
    return next((message for fine, message in checks if not fine), "")


def _same(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode(), right.encode())


def _sync(double: Double, request: Request) -> Answer:
    with double.store.lock:
        return Answer.of(shapes.sync(double.store, double.account, double.user_id, double.url))


def _revision(double: Double, request: Request) -> Answer:
    return Answer.of(int(double.store.revision * 1000))


def _collections(double: Double, request: Request) -> Answer:
    with double.store.lock:
        rows = [shapes.collection(row) for row in double.store.visible_collections()]
    return Answer.of(shapes.listing(rows))


def _organization_collections(double: Double, request: Request, organization: str) -> Answer:
    store = double.store
    row = store.memberships.get(organization)
    if row is None or row.role is Role.USER:
        return _caught(request, shapes.UNAUTHORIZED)
    if not store.full_access(organization):
        return Answer.of(shapes.error("Resource not found."), 404)
    rows = [each for each in store.collections.values() if each.organization == organization]
    return Answer.of(shapes.listing([shapes.collection(each) for each in rows]))


def _profile(double: Double, request: Request) -> Answer:
    return Answer.of(shapes.profile(double.store, double.account, double.user_id))


def _config(double: Double, request: Request) -> Answer:
    return Answer.of(shapes.config(double.url))


def _prelogin(double: Double, request: Request) -> Answer:
    return Answer.of(shapes.prelogin(double.account.kdf))


def _key_id(double: Double, request: Request) -> Answer:
    if double.key_id_endpoint:
        return Answer.of({})
    return Answer.of(shapes.NOT_FOUND, 404)


def _alive(double: Double, request: Request) -> Answer:
    return Answer.of(shapes.ALIVE)


def _version(double: Double, request: Request) -> Answer:
    return Answer.of(shapes.VERSION)


def _nothing(double: Double, request: Request) -> Answer:
    return Answer(200)


_Act = Callable[..., Answer]
_TABLE: tuple[tuple[str, str, bool, _Act], ...] = (
    ("POST", "/identity/connect/token", False, _token),
    ("POST", "/identity/accounts/prelogin(?:/password)?", False, _prelogin),
    ("GET", "/api/config", False, _config),
    ("GET", "(?:/api)?/alive", False, _alive),
    ("GET", "/api/version", False, _version),
    ("GET", "/api/sync", True, _sync),
    ("GET", "/api/accounts/revision-date", True, _revision),
    ("GET", "/api/accounts/profile", True, _profile),
    ("GET", "/api/collections", True, _collections),
    ("GET", rf"/api/organizations/({_ID})/collections", True, _organization_collections),
    ("POST", "/api/accounts/key-management/user-key-id", True, _key_id),
    ("POST", "/events/collect", True, _nothing),
)
