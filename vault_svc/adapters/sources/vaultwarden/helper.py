"""The trusted helper: which `bw` and node may run, and that they are still those (decision 17).

Sources: bw.md sections 1 and 2; bitwarden/clients#20353 (the 2026.4.0 artefact on npm).
"""

from __future__ import annotations

import json
import os
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vault_svc.errors import ColibriError, printable
from vault_svc.hazmat import proc, treehash

_CODE: Final = "helper_untrusted"
_VERSION: Final = re.compile(r"(\d{4})\.(\d{1,2})\.(\d{1,3})", re.ASCII)
_PACKAGE: Final = "@bitwarden/cli"
_SCRIPT: Final = f"/{_PACKAGE}/build/bw.js"
_REFUSED: Final = {
    "2026.4.0": "its npm artefact of 2026-04-22 stole credentials",
}
_FIRST: Final = (2026, 8, 0)
_LAST: Final = (2026, 9, 0)
_PUBLISHED: Final = {  # SHA-256 of build/bw.js in the npm packages the suite drives
    "2026.8.0": "688a23275876477fa5eddd42a1a61a25f7168b3cd164bd634235531904cc87f6",
    "2026.9.0": "9d3f580626d2edc457c03b6d6e87b4ba22fb2d5975935e76adfce8b7ffbc929e",
}
_MAX_LINKS: Final = 8
_PACKAGE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Helper:
    """A `bw` as recorded at login: `bw.js` with its node, or a program that needs none ("")."""

    bw: str
    node: str
    version: str
    manifest: str

    def argv(self, *arguments: str, max_memory_bytes: int) -> list[str]:
        """Return the command line; node's heap is bounded, never its address space."""
        if not self.node:
            return [self.bw, *arguments]
        return [self.node, f"--max-old-space-size={max_memory_bytes >> 20}", self.bw, *arguments]


def identify(bw: str, node: str, *, untested_version: str = "") -> Helper:
    """Return the helper at these absolute paths; raise `helper_missing` or `helper_untrusted`.

    Nothing of it is run before its owner, mode and, for a package, its version are known.
    """
    for path in filter(None, (bw, node)):
        if not os.path.lexists(path):
            raise _missing(path)
    try:
        _refuse_beside(node or bw)
        if not bw.endswith(".js"):
            return _program(bw, untested_version)
        if not node:
            raise ColibriError("helper_missing", "bw.js needs node", hint="name it with --node")
        version = _package_version(bw)
        _refuse_version(version, untested_version)
        _refuse_unpublished(bw, version)
        with ThreadPoolExecutor(1) as beside:  # node is as much to read as all the rest
            of_node = beside.submit(treehash.file_digest, node, _CODE)
            digests = (treehash.tree_digest(_tree(bw), _CODE), of_node.result())
        return Helper(bw, node, version, ":".join(digests))
    except FileNotFoundError:
        raise _missing(bw) from None


def verify(recorded: Helper, *, untested_version: str = "") -> None:
    """Raise `helper_untrusted` unless every byte is as it was recorded at login."""
    found = identify(recorded.bw, recorded.node, untested_version=untested_version)
    if found != recorded:
        what = "the tree of bw" if found.manifest != recorded.manifest else "bw's version"
        raise ColibriError(
            _CODE,
            f"{what} at '{printable(recorded.bw)}' is not as it was at login",
            hint="find out who changed it; after an upgrade of yours, colibri source login again",
        )


def find(bw: str, node: str, path: str | None = None) -> tuple[str, str]:
    """Return absolute paths of bw and node: those given, or what path (else `PATH`) leads to.

    Finding trusts nothing; `identify` judges what was found.
    """
    bw = _followed(bw or shutil.which("bw", path=path) or "")
    if not bw:
        raise _missing("bw")
    if bw.endswith(".js"):
        node = _followed(node or shutil.which("node", path=path) or "")
        if not node:
            raise _missing("node")
        return bw, node
    return bw, ""


def _followed(path: str) -> str:
    """Follow links in the last component, which is how npm installs a command."""
    if not path:
        return ""
    if not path.startswith("/"):
        raise ColibriError(
            "usage", f"'{printable(path)}' is not an absolute path", hint="write the whole path"
        )
    for _ in range(_MAX_LINKS):
        try:
            target = str(Path(path).readlink())
        except OSError:
            return path
        path = os.path.normpath(os.path.join(os.path.dirname(path), target))  # noqa: PTH118, PTH120
    raise ColibriError(_CODE, f"'{printable(path)}' is too many links deep")


def _program(bw: str, untested_version: str) -> Helper:
    digest = treehash.file_digest(bw, _CODE)
    head = treehash.read_head(bw, _CODE)
    if head.startswith(b"#!") and b"node" in head.partition(b"\n")[0]:
        raise ColibriError(
            _CODE,
            f"'{printable(bw)}' would look for node by itself",
            hint="name build/bw.js of the package with --bw, and node with --node",
        )
    version = _asked_version(bw)
    _refuse_version(version, untested_version)
    return Helper(bw, "", version, digest)


def _asked_version(bw: str) -> str:
    nowhere = {"HOME": "/nonexistent", "BITWARDENCLI_APPDATA_DIR": "/nonexistent"}
    done = proc.run([bw, "--version"], timeout_seconds=30, env=nowhere, max_output_bytes=4096)
    return done.stdout.decode("ascii", "replace").strip()


def _package_version(bw: str) -> str:
    if not bw.endswith(_SCRIPT):
        raise ColibriError(
            _CODE, f"'{printable(bw)}' is not …{_SCRIPT}", hint=f"install {_PACKAGE} by npm ci"
        )
    described = bw.removesuffix("/build/bw.js") + "/package.json"
    raw = treehash.read_file(described, _CODE, max_bytes=_PACKAGE_BYTES)
    try:
        package = json.loads(raw)
    except ValueError:
        package = None
    if not isinstance(package, dict) or package.get("name") != _PACKAGE:
        raise ColibriError(_CODE, f"'{printable(described)}' does not describe {_PACKAGE}")
    return str(package.get("version"))


def _refuse_version(version: str, untested_version: str) -> None:
    shown = printable(version[:32])
    if version in _REFUSED:
        raise ColibriError(
            _CODE, f"bw {shown} is refused: {_REFUSED[version]}", hint="install a tested version"
        )
    numbers = _VERSION.fullmatch(version)
    if numbers and version == untested_version:
        return
    if not numbers or not _FIRST <= tuple(map(int, numbers.groups())) <= _LAST:
        first, last = (".".join(map(str, each)) for each in (_FIRST, _LAST))
        raise ColibriError(
            _CODE,
            f"bw {shown} is not tested with this colibri",
            hint=f"{first} to {last} are; see the runbook bw-upgrade.md",
        )


def _refuse_unpublished(bw: str, version: str) -> None:
    found = treehash.file_digest(bw, _CODE)
    if _PUBLISHED.get(version, found) != found:
        raise ColibriError(
            _CODE,
            f"'{printable(bw)}' is not the published bw {version}",
            hint="find out who changed it; install the package again",
        )


def _tree(bw: str) -> str:
    """Return the directory that holds the package and everything it may import."""
    return bw.removesuffix(_SCRIPT)


def _refuse_beside(program: str) -> None:
    """Refuse a directory that node's CLI would silently use instead of ours (bw.md 2)."""
    beside = os.path.dirname(program) + "/bw-data"  # noqa: PTH120
    try:
        os.lstat(beside)
    except OSError:
        return
    raise ColibriError(
        _CODE, f"'{printable(beside)}' would replace our private directory", hint="remove it"
    )


def _missing(path: str) -> ColibriError:
    return ColibriError(
        "helper_missing",
        f"'{printable(str(path))}' is not there",
        hint=f"install {_PACKAGE}; name it with --bw and --node",
    )
