"""How each foreign reader is asked: a file goes in, the variables it reads come out as bytes."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.readers import npm
from tests.readers.engine_api import engine
from tests.readers.room import GIB, Limits, Outcome, Room, runnable

Found = dict[str, bytes]
SCRIPTS = Path(__file__).with_name("scripts")
# node and Go reserve address space they never touch.
RESERVING = Limits(address_bytes=4 * GIB)


class ReaderError(Exception):
    """The reader ended badly: that is a difference too."""


@dataclass(frozen=True, slots=True)
class Reader:
    """missing: why it cannot be asked here, or nothing. read: (room, file, names) to variables."""

    missing: Callable[[], str]
    read: Callable[[Room, Path, tuple[str, ...]], Found]


def _checked(outcome: Outcome) -> bytes:
    if outcome.timed_out:
        raise ReaderError("no answer in time")
    if outcome.status:
        raise ReaderError(f"status {outcome.status}: {outcome.stderr[-300:]!r}")
    return outcome.stdout


def _strings(document: Mapping[str, Any]) -> Found:
    return {
        name: value.encode("utf-8", "surrogateescape")
        for name, value in document.items()
        if isinstance(value, str)
    }


def _json(outcome: Outcome) -> Found:
    return _strings(json.loads(_checked(outcome)))


def _pairs(lines: list[bytes]) -> Found:
    return {
        name.decode(): value for name, _, value in (line.partition(b"=") for line in lines) if name
    }


def _program(*places: str) -> str:
    return next((place for place in places if Path(place).exists()), "")


def _missing(*places: str) -> Callable[[], str]:
    return lambda: "" if _program(*places) else f"{places[0]} is not installed"


def shell(*words: str) -> Reader:
    """Source the file with everything exported, then let env print it."""

    def read(room: Room, file: Path, names: tuple[str, ...]) -> Found:
        script = 'set -a; . "$1"; exec /usr/bin/env -0'
        return _pairs(_checked(room.run([*words, "-c", script, "sh", file])).split(b"\0"))

    return Reader(_missing(words[0]), read)


def python(script: str) -> Reader:
    """Ask one of our Python scripts, which import before they drop their rights."""

    def read(room: Room, file: Path, names: tuple[str, ...]) -> Found:
        listed = room.put("names", "\n".join(names).encode())
        return _json(room.run_python(SCRIPTS / script, str(file), str(listed)))

    return Reader(lambda: "", read)


def _libsystemd() -> str:
    places = [*Path("/usr/lib").glob("*/systemd/libsystemd-shared-*.so"),
              *Path("/usr/lib").glob("systemd/libsystemd-shared-*.so")]  # fmt: skip
    return str(places[0]) if places else ""


def _systemd(room: Room, file: Path, names: tuple[str, ...]) -> Found:
    return _json(room.run_python(SCRIPTS / "systemd.py", str(file), _libsystemd()))


def _node_words(room: Room, script: str, *flags: str) -> list[str | Path]:
    code = room.put(script, (SCRIPTS / script).read_bytes())
    return [runnable(npm.NODE, room), "--max-old-space-size=128", *flags, code]


def node_package(package: str) -> Reader:
    """Ask one version of the npm package dotenv."""

    def read(room: Room, file: Path, names: tuple[str, ...]) -> Found:
        modules, _ = npm.modules()
        assert modules is not None
        copy = room.given / package
        if not copy.exists():
            shutil.copytree(modules / package, copy, copy_function=shutil.copyfile)
        words = [*_node_words(room, "node_dotenv.cjs"), copy, file]
        return _json(room.run(words, limits=RESERVING))

    return Reader(lambda: npm.modules()[1], read)


def _node_flag(room: Room, file: Path, names: tuple[str, ...]) -> Found:
    words = _node_words(room, "node_env_file.cjs", f"--env-file={file}")
    return _json(room.run(words, limits=RESERVING))


def _direnv(room: Room, file: Path, names: tuple[str, ...]) -> Found:
    return _json(room.run(["/usr/bin/direnv", "dotenv", "json", file], limits=RESERVING))


def _ruby(room: Room, file: Path, names: tuple[str, ...]) -> Found:
    script = room.put("ruby_dotenv.rb", (SCRIPTS / "ruby_dotenv.rb").read_bytes())
    return _json(room.run(["/usr/bin/ruby", script, file]))


def _ruby_missing() -> str:
    there = any(
        Path(place).exists()
        for place in ("/usr/share/rubygems-integration/all/gems", "/usr/lib/ruby/vendor_ruby")
        for place in map(str, Path(place).glob("dotenv*"))
    )
    return "" if there and _program("/usr/bin/ruby") else "ruby-dotenv is not installed"


DOCKER = ("/usr/bin/docker", "/usr/local/bin/docker")
PODMAN = ("/usr/bin/podman", "/usr/local/bin/podman")


def _docker(room: Room, file: Path, names: tuple[str, ...]) -> Found:
    socket = room.given / "s"
    socket.unlink(missing_ok=True)
    with engine(socket) as created:
        words = [_program(*DOCKER), "create", "--env-file", file, "image"]
        env = {"DOCKER_HOST": f"unix://{socket}", "DOCKER_CONFIG": str(room.given)}
        _checked(room.run(words, limits=RESERVING, env=env))
    return _pairs([text.encode() for text in created[-1]["Env"] or ()])


def _podman(room: Room, file: Path, names: tuple[str, ...]) -> Found:
    socket = room.given / "s"
    socket.unlink(missing_ok=True)
    with engine(socket) as created:
        words = [_program(*PODMAN), "--url", f"unix://{socket}", "create", "--env-file", file,
                 "--rootfs", "/nonexistent"]  # fmt: skip
        _checked(room.run(words, limits=RESERVING))
    return _strings(created[-1].get("env") or {})


@functools.cache
def _compose_missing() -> str:
    if not (docker := _program(*DOCKER)):
        return "docker is not installed"
    asked = subprocess.run(
        [docker, "compose", "version"], capture_output=True, timeout=60, check=False
    )
    return "the compose plugin is not installed" if asked.returncode else ""


def compose(**how: str) -> Reader:
    """Read `docker compose config`, which writes a dollar sign as two."""

    def read(room: Room, file: Path, names: tuple[str, ...]) -> Found:
        service = {"image": "image", "env_file": [{"path": str(file), **how}]}
        project = room.put("compose.yaml", json.dumps({"services": {"s": service}}).encode())
        words = [_program(*DOCKER), "compose", "-p", "p", "-f", project, "config"]
        env = {"DOCKER_CONFIG": str(room.given)}
        outcome = room.run([*words, "--format", "json"], limits=RESERVING, env=env)
        found = _strings(json.loads(_checked(outcome))["services"]["s"].get("environment") or {})
        return {name: value.replace(b"$$", b"$") for name, value in found.items()}

    return Reader(_compose_missing, read)


READERS: dict[str, Reader] = {
    "python-dotenv": python("python_dotenv.py"),
    "pydantic-settings": python("pydantic_settings.py"),
    "node-dotenv-16": node_package("dotenv16"),
    "node-dotenv-18": node_package("dotenv18"),
    "node-env-file": Reader(lambda: "", _node_flag),
    "bash": shell("/bin/bash", "--norc", "--noprofile"),
    "bash-posix": shell("/bin/bash", "--norc", "--noprofile", "--posix"),
    "dash": shell("/bin/dash"),
    "busybox-sh": shell("/bin/busybox", "sh"),
    "zsh": shell("/usr/bin/zsh", "-f"),
    "ksh93": shell("/usr/bin/ksh93"),
    "mksh": shell("/usr/bin/mksh"),
    "systemd": Reader(
        lambda: "" if _libsystemd() else "libsystemd-shared is not installed", _systemd
    ),
    "direnv": Reader(_missing("/usr/bin/direnv"), _direnv),
    "ruby-dotenv": Reader(_ruby_missing, _ruby),
    "docker": Reader(_missing(*DOCKER), _docker),
    "podman": Reader(_missing(*PODMAN), _podman),
    "compose": compose(),
    "compose-raw": compose(format="raw"),
}
