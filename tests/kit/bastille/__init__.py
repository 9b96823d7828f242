"""Stand-ins for `bastille`, `jls` and `jexec`, where there is no FreeBSD.

Written after Bastille 1.4.4 (commit 040f8061: bin/bastille, lib/target.sh, lib/checks.sh, list.sh,
create.sh, start.sh, stop.sh, destroy.sh) and usr.sbin/jls/jls.c, traps included: a target may be
the beginning of a name, a tag, a number or ALL; a refused start ends with 0; the prefix must be
0750. Jails are chroots here: what isolates on FreeBSD is not shown by them. These are no
recordings: the acceptance run (runbooks/freebsd-acceptance.md) makes those.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

RELEASE = "14.3-RELEASE"
TOOLS = ("bastille", "jls", "jexec")


def install(top: Path, release: Path) -> tuple[Path, Path]:
    """Put the stand-ins below top with a release to make jails of; return (bin, jails)."""
    programs, prefix = top / "bin", top / "bastille"
    programs.mkdir()
    for name in ("jails", "releases"):
        (prefix / name).mkdir(parents=True)
    prefix.chmod(0o750)
    shutil.copytree(release, prefix / "releases" / RELEASE, symlinks=True)
    tool = Path(__file__).with_name("tool.py")
    for name in TOOLS:
        (programs / name).write_text(
            f'#!/bin/sh\nexec {sys.executable} -I -S {tool} {name} {prefix} "$@"\n'
        )
        (programs / name).chmod(0o755)
    return programs, prefix / "jails"
