"""A file adopted after a crash is on the disk before its receipt says that it is there."""

from __future__ import annotations

import os

from vault_svc.adapters.registry.lazy import LazyRegistry


def test_adopting_syncs_file_and_directory_before_the_receipt(cli, monkeypatch):
    cli.run("secret", "set", "acme", "KEY", stdin=b"value")
    cli.run("register-tenant", "acme", "--create-jail", "--tier", "scratch")
    assert cli.run("provision", "acme").status == 0
    jail = cli.state / "jails" / "acme" / "root"
    monkeypatch.setattr(LazyRegistry, "commit", _dies)
    cli.run("secret", "set", "acme", "KEY", stdin=b"newer")
    assert cli.run("provision", "acme").status == 1
    monkeypatch.undo()

    acts: list[object] = []
    sync, commit = os.fsync, LazyRegistry.commit

    def synced(fd):
        status = os.fstat(fd)
        acts.append((status.st_dev, status.st_ino))
        sync(fd)

    def committed(self, *args, **kwargs):
        acts.append("receipt")
        return commit(self, *args, **kwargs)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(LazyRegistry, "commit", committed)
    answer = cli.run("provision", "acme", "--json")
    assert answer.json["result"] == "adopted"
    before = acts[: acts.index("receipt")]
    for path in (jail / ".env", jail):
        status = path.stat()
        assert (status.st_dev, status.st_ino) in before


def _dies(*args, **kwargs):
    raise RuntimeError("the power went")
