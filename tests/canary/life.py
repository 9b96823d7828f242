"""One whole life of a tenant, by the real command, with everything it said and left behind."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.canary import hunter
from tests.canary.hunter import INPUTS, Place
from tests.canary.marks import Marks, fresh_value, host_key_marks, identity_marks

COLIBRI = [sys.executable, "-c", "from cli.app import main; main()"]
TREE = Path(__file__).resolve().parents[2]
SHORT_WAY = TREE / "cli/hook_start.py"


@dataclass
class Said:
    """What one command came to."""

    arguments: tuple[str, ...]
    pid: int
    status: int
    stdout: bytes
    stderr: bytes


@dataclass
class Host:
    """A state directory and the places colibri could leave something in."""

    state: Path
    around: Path
    marks: Marks = field(default_factory=Marks)
    values: dict[str, str] = field(default_factory=dict)
    said: list[Said] = field(default_factory=list)
    found: set[Place] = field(default_factory=set)
    hidden: set[str] = field(default_factory=set)
    known: hunter.Known = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("home", "tmp", "cwd", INPUTS):
            (self.around / name).mkdir()
        (self.around / "colibri.toml").write_text("")

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(TREE),
            "HOME": str(self.around / "home"),
            "TMPDIR": str(self.around / "tmp"),
            "COLIBRI_CONFIG": str(self.around / "colibri.toml"),
            "COLIBRI_DAEMON_DATA_DIR": str(self.state),
        }

    def env_file(self, jail: str) -> Path:
        return self.state / "jails" / jail / "root" / ".env"

    def input_file(self, text: str) -> str:
        path = self.around / INPUTS / f"{len(self.said)}.txt"
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    def value(self, name: str) -> str:
        """Return a fresh marked value."""
        fresh = fresh_value()
        self.marks.add(f"value {name} {len(self.values)}", fresh)
        self.values[f"{name} {len(self.values)}"] = fresh
        return fresh

    def mark_credentials(self) -> None:
        """Mark every credential there is now."""
        self.known.clear()
        home = self.state / "credentials"
        named = f"identity after {len(self.said)}"
        both = host_key_marks(home / "host.key") | identity_marks(home / "embedded.age", named)
        for name, forms in both.items():
            if name not in self.marks.pieces:
                self.marks.add(name, *forms)

    @contextmanager
    def started(
        self, *arguments: str, extra: Mapping[str, str] | None = None, before: Any = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Start colibri with cores allowed, and look at it while it certainly runs."""
        child = subprocess.Popen(
            [*COLIBRI, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.around / "cwd",
            env=self.environ | dict(extra or {}),
            preexec_fn=before or allow_cores,  # noqa: PLW1509 - one system call
        )
        try:
            yield child
        finally:
            child.kill()
            child.communicate()

    def colibri(
        self, *arguments: str, stdin: str = "", status: int | None = 0, **extra: Any
    ) -> Said:
        """Run one command to its end; look at it, and at everything it left."""
        with self.started(*arguments, **extra) as child:
            self._look_at(child.pid)
            out, err = child.communicate(stdin.encode(), timeout=120)
        said = Said(arguments, child.pid, child.returncode, out, err)
        assert status in {None, said.status}, (arguments, said.status, err.decode())
        self.said.append(said)
        self.look()
        return said

    def _look_at(self, pid: int) -> None:
        found, hidden = hunter.in_process(pid, self.marks)
        self.found |= found
        self.hidden |= hidden

    def look(self) -> None:
        """Hunt in the last words and in every file."""
        for said in self.said[-1:]:
            for where, data in (("stdout", said.stdout), ("stderr", said.stderr)):
                names = self.marks.find(data)
                self.found |= {(f"{where} of {said.arguments}", name) for name in names}
        allowed = hunter.delivered_or_credential(str(self.state))
        for top in (self.state, self.around):
            self.found |= hunter.in_tree(top, self.marks, allowed, self.known)


def allow_cores() -> None:
    """Lift the limit, so that only colibri itself stands between a crash and a core."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))


def both_ways(host: Host, *arguments: str, status: int | None = 0) -> None:
    """Say a command for people, loudly, and for programs."""
    host.colibri(*arguments, status=status)
    host.colibri("--verbose", *arguments, "--json", status=status)


def live(host: Host) -> Iterator[str]:
    """Live through every command there is; yields the name of each chapter as it ends."""
    tier = ("--tier", "scratch")
    host.mark_credentials()
    yield "init"
    host.colibri("secret", "set", "acme", "STDIN_KEY", stdin=host.value("stdin") + "\n")
    file = host.input_file(host.value("file"))
    host.colibri("-v", "secret", "set", "acme", "FILE_KEY", "--from-file", file, "--json")
    lines = "".join(f"IMPORT_{n}={host.value('import')}\n" for n in range(3))
    host.colibri("secret", "import", "acme", host.input_file(lines))
    host.colibri("secret", "import", "acme", "-", "--json", stdin=f"PIPED={host.value('pipe')}\n")
    host.colibri("secret", "set", "other", "ONLY_KEY", stdin=host.value("other"))
    both_ways(host, "secret", "list", "acme")
    host.colibri("secret", "unset", "acme", "IMPORT_2")
    yield "secrets"
    host.colibri("register-tenant", "acme", "--create-jail", *tier)
    host.colibri("-v", "register-tenant", "other", "--create-jail", *tier, "--json")
    host.colibri("provision", "acme", "--dry-run", "--json")
    both_ways(host, "provision", "acme")
    both_ways(host, "provision", "--all")
    both_ways(host, "verify", "--all")
    both_ways(host, "verify", "acme")
    both_ways(host, "list-tenants")
    both_ways(host, "show-tenant", "acme")
    both_ways(host, "jail", "list")
    yield "delivered"
    file = host.env_file("acme")
    file.write_bytes(file.read_bytes() + f"PLANTED={host.value('drift')}\n".encode())
    both_ways(host, "verify", "acme", status=8)
    host.colibri("provision", "acme", "--repair")
    host.colibri("secret", "set", "acme", "STDIN_KEY", stdin=host.value("rotated"))
    host.colibri("--verbose", "provision", "acme")
    host.colibri("update-tenant", "acme", "--profile", "shell", "--json")
    host.colibri("provision", "acme", "--json")
    host.colibri("update-tenant", "acme", "--delivery", "files")
    host.colibri("--verbose", "provision", "acme", "--json")
    (host.env_file("acme").parent / "secrets/STDIN_KEY").unlink()
    both_ways(host, "verify", "acme", status=8)
    host.colibri("update-tenant", "acme", "--delivery", "file")
    host.colibri("provision", "acme")
    yield "rotated"
    refused = host.value("refused") + "'\"\\$`\n#"
    host.colibri("secret", "set", "other", "AWKWARD", stdin=refused + "\x07")
    both_ways(host, "provision", "other", status=5)
    both_ways(host, "provision", "--all", status=9)
    both_ways(host, "show-tenant", "other")
    host.colibri("secret", "import", "other", "-", stdin=f"{refused}\n", status=None)
    host.colibri("secret", "set", "other", "path", stdin=host.value("bad name"), status=5)
    host.colibri("secret", "set", "other", "BIG", stdin=host.value("big") * 6000, status=5)
    yield "refused"
    both_ways(host, "key", "rotate", "host")
    host.mark_credentials()
    both_ways(host, "key", "rotate", "identity")
    host.mark_credentials()
    both_ways(host, "doctor")
    both_ways(host, "audit", "tail", "--lines", "200")
    both_ways(host, "audit", "verify")
    both_ways(host, "audit", "renew", status=2)
    both_ways(host, "key", "rotate", "host", "--lost", status=2)
    yield "keys"
    org = "".join(f"{host.value(name)}\n" for name in ("client id", "client secret", "password"))
    server = ("--server", "https://127.0.0.1:9", "--organization", "Acme", "--bw", "/nowhere/bw")
    host.colibri("-v", "source", "login", "vaultwarden", *server, stdin=org, status=4)
    for action in ("show", "test", "doctor", "logout"):
        both_ways(host, "source", action, "vaultwarden", status=None)
    both_ways(host, "lease", "add", "other", "DB_USER=database/creds/app#username")
    both_ways(host, "lease", "list")
    both_ways(host, "renew", status=9)  # no server is logged in to
    both_ways(host, "lease", "remove", "other", "DB_USER", status=None)
    yield "server"
    _spawned(host)
    yield "spawned"
    _served(host)
    yield "served"
    for action in ("suspend", "resume", "provision", "revoke", "offboard"):
        both_ways(host, action, "acme")
    host.colibri("provision", "acme", status=5)
    loud = {"PYTHONDEVMODE": "1", "PYTHONFAULTHANDLER": "1", "PYTHONTRACEMALLOC": "3"}
    host.colibri("--verbose", "provision", "--all", status=9, extra=loud)
    host.colibri("offboard", "other", "--json", extra=loud)
    host.colibri("jail", "destroy", "other")
    yield "gone"


def _spawned(host: Host) -> None:
    """Jails, hooks and agents; what this host has no engine for is refused, and hunted too."""
    root, hooks = str(host.env_file("acme").parent), str(host.around / "hooks.d")
    for words in (
        ("jail", "start", "acme"),
        ("jail", "run", "acme", "/bin/true"),
        ("jail", "stop", "acme"),
        ("hook", "run", "--jail", "acme", "--root", root),
        ("hook", "oci"),
        ("hook", "nspawn", "nobody"),
        ("hook", "bastille", "nobody"),
        ("hook", "show", "podman", "--directory", hooks),
        ("hook", "install", "podman", "--directory", hooks),
        ("hook", "uninstall", "podman", "--directory", hooks),
        ("source", "policies", "vault"),
    ):
        both_ways(host, *words, status=None)
    vault = ("--server", "https://127.0.0.1:9")
    pair = "".join(f"{host.value(name)}\n" for name in ("role id", "secret id"))
    host.colibri("-v", "source", "login", "vault", *vault, stdin=pair, status=None)
    host.colibri("spawn-agent", "acme", "--", "/bin/true", status=None)
    host.colibri("spawn-local", "acme", "--", "/bin/true", status=None)


def _served(host: Host) -> None:
    """The hooks' service, looked at before and after it delivered a new value."""
    host.colibri("secret", "set", "acme", "STDIN_KEY", stdin=host.value("served"))
    with host.started("hook", "serve") as child:
        give_up = time.monotonic() + 60
        while not (host.state / "hooks/serve.sock").exists():
            assert time.monotonic() < give_up
            time.sleep(0.01)
        host._look_at(child.pid)
        way = [sys.executable, "-I", "-S", str(SHORT_WAY), str(host.state / "hooks"), "60"]
        way += ["/nowhere/colibri", "hook", "run", "--jail", "acme"]
        way += ["--root", str(host.env_file("acme").parent)]
        done = subprocess.run(way, env=host.environ, capture_output=True, check=False)
        assert b"'acme' delivered" in done.stderr
        host._look_at(child.pid)
        child.terminate()
        out, err = child.communicate(timeout=60)
    for arguments, ended in (
        (("hook", "serve"), (child.pid, child.returncode, out, err)),
        (("hook", "run"), (0, done.returncode, done.stdout, done.stderr)),
    ):
        host.said.append(Said(arguments, *ended))
        host.look()


def commands_lived(host: Host) -> set[str]:
    """Return the commands that were run, as the application names them."""
    found = set()
    for said in host.said:
        words = [word for word in said.arguments if not word.startswith("-")]
        groups = {"secret": 2, "key": 3, "audit": 2, "jail": 2, "source": 2, "lease": 2, "hook": 2}
        depth = 3 if words[:2] == ["source", "login"] else groups.get(words[0], 1)
        found.add(" ".join(words[:depth]))
    return found


@contextmanager
def hunted(host: Host) -> Iterator[dict[str, Any]]:
    """Let a process of its own hunt meanwhile; the dictionary is full when the block has ended."""
    report: dict[str, Any] = {}
    process = subprocess.Popen(
        [sys.executable, str(Path(hunter.__file__)), str(host.state), str(host.around)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": "/usr/bin:/bin"},
    )
    try:
        report["process"] = process
        tell(process, host.marks)
        yield report
        out, _ = process.communicate(timeout=120)
        report |= json.loads(out.splitlines()[-1])
    finally:
        process.kill()
        process.wait()


def tell(process: subprocess.Popen[str], marks: Marks) -> None:
    """Hand the hunter marks, and wait until it has them."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(marks.dumped() + "\n")
    process.stdin.flush()
    assert process.stdout.readline() == "ready\n"


def root() -> bool:
    return os.geteuid() == 0
