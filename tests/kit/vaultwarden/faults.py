"""Faults on demand: what goes wrong, at which step of a session, and how often (bw.md 9.3)."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.kit.vaultwarden import shapes

# The steps of a session, as a server sees them.
STEPS = ("config", "token", "sync", "revision", "collections", "key_id", "profile", "other")
REASONS = {
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    429: "Too Many Requests", 500: "Internal Server Error", 502: "Bad Gateway",
    503: "Service Unavailable",
}  # fmt: skip


@dataclass
class Answer:
    """An HTTP answer; sent says how many bytes of the body leave before the connection is cut."""

    status: int
    body: bytes = b""
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    sent: int | None = None
    wait: float = 0.0
    reset: bool = False

    @classmethod
    def of(cls, document: Any, status: int = 200) -> Answer:
        """Make the answer that carries a JSON document."""
        return cls(status, json.dumps(document, ensure_ascii=False).encode())


class Fault:
    """Something that goes wrong. Those with instead() never reach the server's own answer."""

    def instead(self) -> Answer | None:
        """Return what is answered in place of everything else, or None."""
        return None

    def change(self, answer: Answer) -> Answer:
        """Return the server's own answer, changed."""
        return answer


@dataclass(frozen=True)
class Status(Fault):
    """A refusal. As JSON in the form Vaultwarden gives that status, or as a proxy's HTML page."""

    code: int
    message: str = ""
    html: bool = False
    retry_after: int | None = None

    def instead(self) -> Answer:
        reason = self.message or REASONS.get(self.code, "Error")
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.html:
            page = f"<html><head><title>{self.code} {reason}</title></head></html>"
            return Answer(self.code, page.encode(), "text/html", headers)
        own = self.code in {400, 429} or self.message
        document = shapes.error(reason) if own else shapes.catcher(self.code, reason, reason)
        return Answer(self.code, json.dumps(document).encode(), headers=headers)


@dataclass(frozen=True)
class Redirect(Fault):
    """The request is sent elsewhere; with 307 its body goes along (bw.md 5)."""

    location: str
    code: int = 307

    def instead(self) -> Answer:
        return Answer(self.code, headers={"Location": self.location})


@dataclass(frozen=True)
class Reset(Fault):
    """The connection ends before an answer begins."""

    def instead(self) -> Answer:
        return Answer(0, reset=True)


@dataclass(frozen=True)
class Slow(Fault):
    """The right answer, late."""

    seconds: float

    def change(self, answer: Answer) -> Answer:
        answer.wait = self.seconds
        return answer


@dataclass(frozen=True)
class Truncated(Fault):
    """A whole HTTP message with half a JSON document."""

    keep: float = 0.5

    def change(self, answer: Answer) -> Answer:
        answer.body = answer.body[: int(len(answer.body) * self.keep)]
        return answer


@dataclass(frozen=True)
class Cut(Fault):
    """The connection ends inside the body that was announced."""

    keep: float = 0.5

    def change(self, answer: Answer) -> Answer:
        answer.sent = int(len(answer.body) * self.keep)
        return answer


@dataclass(frozen=True)
class Edit(Fault):
    """The right document with something wrong in it: change works in place or returns another."""

    edit: Callable[[Any], Any]

    def change(self, answer: Answer) -> Answer:
        document = json.loads(answer.body)
        changed = self.edit(document)
        answer.body = json.dumps(document if changed is None else changed).encode()
        return answer


@dataclass
class _Armed:
    fault: Fault
    after: int
    times: int | None


class Faults:
    """Which fault is armed at which step. Safe to change while the server answers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: dict[str, list[_Armed]] = {}

    def at(self, step: str, fault: Fault, *, after: int = 0, times: int | None = None) -> None:
        """Arm a fault at a step: let `after` requests pass, then spoil `times` (all, if None)."""
        assert step in STEPS, step
        with self._lock:
            self._armed.setdefault(step, []).append(_Armed(fault, after, times))

    def everywhere(self, fault: Fault) -> None:
        """Arm a fault at every step."""
        for step in STEPS:
            self.at(step, fault)

    def clear(self) -> None:
        """Disarm everything."""
        with self._lock:
            self._armed.clear()

    def due(self, step: str) -> list[Fault]:
        """Return the faults that this request meets, and count it."""
        with self._lock:
            return [each.fault for each in self._armed.get(step, ()) if _counted(each)]


def _counted(armed: _Armed) -> bool:
    if armed.after > 0:
        armed.after -= 1
        return False
    if armed.times is None:
        return True
    armed.times -= 1
    return armed.times >= 0
