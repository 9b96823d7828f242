"""A jail engine of your own, whole: trees that a template fills, entered by chroot(8).

    [project.entry-points."colibri.jail_engines"]
    chroot = "chroot_engine:ChrootEngine"

The class is called with the allowed bases; its `name` is the entry point's.
"""

import os
import shutil
from collections.abc import Sequence

from vault_svc.adapters.jails.directory import DirectoryEngine
from vault_svc.domain.receipt import Owner
from vault_svc.hazmat import proc
from vault_svc.ports.jail_engine import Capabilities, JailInfo, Ran

TEMPLATE = "/usr/local/share/jail-template"


class ChrootEngine(DirectoryEngine):
    """The directories of colibri's own engine, with a view of nothing else."""

    name = "chroot"
    capabilities = Capabilities(isolates=True, proven=False)

    def unavailable(self) -> str | None:
        """Return why this host cannot: only root may change its root."""
        return None if os.geteuid() == 0 else "only root may chroot"

    def create(self, name: str, owner: Owner) -> JailInfo:
        """Make the tree, then fill it, before anybody is in it."""
        made = super().create(name, owner)
        shutil.copytree(TEMPLATE, made.root, symlinks=True, dirs_exist_ok=True)
        return made

    def run(
        self, name: str, argv: Sequence[str], owner: Owner, *, timeout_seconds: float = 30.0
    ) -> Ran:
        """Run argv as owner, by the one subprocess runner: no environment, bounded, killed."""
        who = ["/usr/sbin/chroot", f"--userspec={owner.uid}:{owner.gid}", "--groups="]
        ran = proc.run([*who, self.root_of(name), *argv], timeout_seconds=timeout_seconds)
        return Ran(ran.status, ran.stdout, ran.stderr)
