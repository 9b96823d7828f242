"""One stand-in for three programs: argv is the program, Bastille's prefix, its arguments."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import sys
from pathlib import Path

_THIN = ("bin", "sbin", "lib", "libexec")  # a part of what create.sh links into /.bastille
_CONF = """{name} {{
  enforce_statfs = 2;
  devfs_ruleset = 4;
  exec.clean;
  exec.consolelog = /var/log/bastille/{name}/console.log;
  exec.start = '/bin/sh /etc/rc';
  exec.stop = '/bin/sh /etc/rc.shutdown';
  host.hostname = {name};
  mount.devfs;
  mount.fstab = {jail}/fstab;
  path = {jail}/root;
  securelevel = 2;
  osrelease = "14.3-RELEASE";

{network}}}
"""
_NETWORK = {"standard": "  ip4 = inherit;\n  \n  ip6 = disable;\n", "vnet": "  vnet;\n"}


class Host:
    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.jails = prefix / "jails"
        self.kernel = prefix / "kernel.json"

    def running(self) -> dict[str, dict[str, str]]:
        return json.loads(self.kernel.read_text()) if self.kernel.exists() else {}

    def keep(self, running: dict[str, dict[str, str]]) -> None:
        self.kernel.write_text(json.dumps(running))

    def names(self) -> list[str]:
        return sorted(p.parent.name for p in self.jails.glob("*/jail.conf"))


def fail(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.exit(1)


def bastille(host: Host, argv: list[str]) -> None:
    if stat.S_IMODE(host.prefix.stat().st_mode) != 0o750:
        fail(f"Insecure permissions on {host.prefix}\nTry: chmod 0750 {host.prefix}")
    command, *rest = argv
    {"create": create, "destroy": destroy, "start": start, "stop": stop}[command](host, rest)


def targets(host: Host, target: str) -> list[str]:
    """set_target of lib/target.sh."""
    if target.lower() == "all":
        return host.names()
    if not (host.jails / target).is_dir() and target.isdigit():
        found = [name for name, jail in host.running().items() if jail["jid"] == target]
        return found or fail(f"[ERROR]: JID not found: {target}") or []
    if any(re.search(f"^{target}$", name) for name in host.names()):
        return [target]
    begun = [name for name in host.names() if re.search(f"^{target}", name)]
    if len(begun) > 1:
        fail(f"[ERROR]: Multiple jails found for {target}:")
    tagged = [p.parent.name for p in host.jails.glob("*/tags") if target in p.read_text().split()]
    return begun or tagged or fail(f"[ERROR]: Jail not found: {target}") or []


def create(host: Host, argv: list[str]) -> None:
    options = [word for word in argv if word.startswith("-")]
    name, release, _address, *_ = [word for word in argv if not word.startswith("-")]
    if name in host.names():
        fail(f"[ERROR]: Jail already exists: {name}")
    if "--vnet" in options and "-" in name:
        fail("[ERROR]: VNET jail names may not contain (-|_) characters.")
    source = host.prefix / "releases" / release
    if not source.is_dir():
        fail("[ERROR]: Release must be bootstrapped first.")
    jail = host.jails / name
    jail.mkdir(mode=0o755)
    shutil.copytree(source, jail / "root", symlinks=True)
    home = jail / "root/home/app"
    os.chown(home, 1000, 1000)
    fstab = ""
    if "--thick" not in options:
        (jail / "root/.bastille").mkdir()
        for part in _THIN:
            if not (jail / "root" / part).exists():
                (jail / "root" / part).symlink_to(f"/.bastille/{part}")
        fstab = f"{source} {jail}/root/.bastille nullfs ro 0 0\n"
    (jail / "fstab").write_text(fstab)
    network = _NETWORK["vnet" if "--vnet" in options else "standard"]
    (jail / "jail.conf").write_text(_CONF.format(name=name, jail=jail, network=network))
    (jail / "settings.conf").write_text('boot="off"\ndepend=""\npriority="99"\n')
    start(host, [name])


def start(host: Host, argv: list[str]) -> None:
    for name in targets(host, argv[-1]):
        running = host.running()
        if name in running:
            sys.stderr.write(f"\n[{name}]:\nJail is already running.\n")  # and ends with 0
            continue
        path = re.search(r"path = (.*);", (host.jails / name / "jail.conf").read_text()).group(1)
        jid = str(1 + max([0, *(int(jail["jid"]) for jail in running.values())]))
        host.keep(running | {name: {"jid": jid, "path": path}})


def stop(host: Host, argv: list[str]) -> None:
    for name in targets(host, argv[-1]):
        running = host.running()
        if name not in running:
            sys.stderr.write(f"\n[{name}]:\nJail is already stopped.\n")
            continue
        del running[name]
        host.keep(running)


def destroy(host: Host, argv: list[str]) -> None:
    for name in targets(host, argv[-1]):
        if name in host.running():
            if "-a" not in argv:
                sys.stderr.write("Use [-a|--auto] to auto-stop the jail.\n")
                continue
            stop(host, [name])
        shutil.rmtree(host.jails / name)


def jls(host: Host, argv: list[str]) -> None:
    assert argv[0] == "--libxo=json", argv
    jails = [{"name": name, **jail} for name, jail in host.running().items()]
    listed = [{wanted: jail[wanted] for wanted in argv[1:]} for jail in jails]
    print(json.dumps({"__version": "2", "jail-information": {"jail": listed}}))


def jexec(host: Host, argv: list[str]) -> None:
    assert argv[0] == "-l"
    name, command = argv[1], argv[2:]
    if name not in host.running():
        fail(f'jexec: jail "{name}" not found')
    os.chroot(host.running()[name]["path"])
    os.chdir("/")
    if command[0] == "/usr/sbin/chroot":  # chroot(8) of the jail, which busybox has not
        _, _, user, _, group, _, *command = command
        os.setgroups([])
        os.setgid(int(group))
        os.setuid(int(user))
    kept = {"HOME": "/root", "SHELL": "/bin/sh", "TERM": "dumb", "USER": "root"}
    try:
        os.execve(command[0], command, kept)
    except OSError as error:
        fail(f"jexec: execvp: {command[0]}: {error.strerror}")


if __name__ == "__main__":
    tool, prefix, *arguments = sys.argv[1:]
    {"bastille": bastille, "jls": jls, "jexec": jexec}[tool](Host(Path(prefix)), arguments)
