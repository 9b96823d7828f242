"""What the steps share: the place, the operator's hands, the tenant, and the figures."""

from __future__ import annotations

import os
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cli.proof.host import Answer, Host
from cli.proof.outcome import FailedError, Figures
from cli.proof.place import Place

TENANT: Final = "proof"
ENV_PATH: Final = "/home/app/.env"
FILE_MODE: Final = 0o600
LARGE_BYTES: Final = 32 * 1024


def throwaway() -> dict[str, str]:
    """Return a collection's worth of values that spoil careless writers; none is a real secret."""
    return {
        "API_KEY": "sk-" + secrets.token_urlsafe(24),
        "BASE64": b64encode(secrets.token_bytes(34)).decode(),
        "COLONS": "left:middle::right",
        "DATABASE_URL": f"postgres://app:{secrets.token_hex(8)}%40x@db.internal:5432/app",
        "EMPTY": "",
        "EQUALS": f"a=b=={secrets.token_hex(4)}==",
        "LARGE": secrets.token_hex(LARGE_BYTES // 2),
        "PERCENT": "%40%3A%2F" + secrets.token_hex(4),
    }


def lines(values: Mapping[str, str]) -> bytes:
    """Return values as NAME=value lines, sorted by name."""
    return "".join(f"{name}={values[name]}\n" for name in sorted(values)).encode()


@dataclass(slots=True)
class World:
    """One run of the proof."""

    place: Place
    host: Host
    owner: tuple[int, int]
    engine: str = "directory"
    root: Path = Path("/nonexistent")
    values: dict[str, str] = field(default_factory=throwaway)
    figures: Figures = field(default_factory=Figures)
    collection_file: Path | None = None

    @property
    def as_root(self) -> bool:
        """Whether owners can really change."""
        return os.geteuid() == 0

    @property
    def data(self) -> Path:
        """Colibri's state directory in the scratch place."""
        return self.place.path / "state"

    @property
    def outside(self) -> Path:
        """The decoy: host files no delivery may touch."""
        return self.place.path / "outside"

    @property
    def target(self) -> Path:
        """The tenant's file by its host path."""
        return self.root / ENV_PATH[1:]

    def owned_by(self, path: Path, *, whole: bool = False) -> None:
        """Give what the tenant made to the tenant; whole: with everything below."""
        if not self.as_root:
            return
        os.lchown(path, *self.owner)
        if whole:
            for directory, subdirectories, files in os.walk(path):
                for name in (*subdirectories, *files):
                    os.lchown(Path(directory, name), *self.owner)

    def register(self, tenant: str, env_path: str = ENV_PATH, *, engine: str = "") -> list[str]:
        """Return the arguments that register a tenant with a jail of its own."""
        owner = f"{self.owner[0]}:{self.owner[1]}"
        chosen = engine or self.engine
        return [
            *("register-tenant", tenant, "--create-jail", "--engine", chosen),
            *("--env-path", env_path, "--owner", owner, "--tier", "scratch", "--json"),
        ]

    def read_inside(self, owner: tuple[int, int] | None = None) -> dict[str, Any]:
        """Read the tenant's file from inside the jail, as its user or as another."""
        child = self.host.start_inside("reader.py", self.root, owner or self.owner, ENV_PATH[1:])
        seen = self.host.finish_inside("reader.py", child)
        seen["content"] = b64decode(seen.get("content", ""))
        return dict(seen)

    def must_read(self) -> bytes:
        """Return the bytes the agent sees; raise FailedError when it sees none."""
        seen = self.read_inside()
        if seen["error"]:
            raise FailedError(f"the agent cannot read its file: {seen['error']}")
        return bytes(seen["content"])

    def batch(self, runs: Sequence[tuple[Sequence[str], bytes]]) -> list[Answer]:
        """Run several commands from one process; the caller judges each answer."""
        job = {
            "mode": "batch",
            "command": str(self.host.command),
            "runs": [{"argv": list(argv), "stdin": stdin.decode()} for argv, stdin in runs],
        }
        answers = [
            Answer(
                tuple(argv),
                int(one["status"]),
                one["stdout"].encode(),
                one["stderr"],
                float(one["elapsed_ms"]),
            )
            for (argv, _), one in zip(runs, self.host.script("driver.py", job), strict=True)
        ]
        return [self.host.checked(answer, ()) for answer in answers]


def same_values(content: bytes, values: Mapping[str, str]) -> str:
    """Return how a delivered file differs from values byte for byte, empty if it does not."""
    header, _, body = content.partition(b"\n")
    if not header.startswith(b"# "):
        return "its first line is no comment"
    expected = lines(values)
    if body == expected:
        return ""
    got, want = body.splitlines(), expected.splitlines()
    wrong = [line.partition(b"=")[0].decode() for line in want if line not in got]
    return f"{len(got)} lines instead of {len(want)}, wrong: {', '.join(wrong) or 'order'}"


def result(answer: Answer) -> Mapping[str, Any]:
    """Return the document of an answer; raise FailedError when there is none."""
    if not answer.document:
        raise FailedError(f"{answer.shown()}: its stdout is no JSON document")
    return answer.document
