"""Which bw may run: known paths, owners, versions, and every byte as it was at login."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from tests.kit import bw
from tests.kit.places import private_directory
from vault_svc.adapters.sources.vaultwarden import helper
from vault_svc.errors import ColibriError
from vault_svc.hazmat import treehash

VERSION = "2026.8.99"  # in the tested range, of no published hash


class Tree:
    """An npm tree with a bw.js, and a node, that nobody runs."""

    def __init__(self, home: Path) -> None:
        self.modules = home / "lib" / "node_modules"
        self.package = self.modules / "@bitwarden" / "cli"
        self.script = self.package / "build" / "bw.js"
        self.node = home / "bin" / "node"
        for path in (self.script, self.node, self.modules / "dep" / "index.js"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"// {path.name}")
        (self.modules / ".bin").mkdir()
        (self.modules / ".bin" / "bw").symlink_to("../@bitwarden/cli/build/bw.js")
        self.describe(VERSION)

    def describe(self, version: object, name: str = "@bitwarden/cli") -> None:
        (self.package / "package.json").write_text(json.dumps({"name": name, "version": version}))

    def identify(self, **more) -> helper.Helper:
        return helper.identify(str(self.script), str(self.node), **more)


@pytest.fixture
def home():
    before = os.umask(0o022)
    with private_directory() as made:
        yield made
    os.umask(before)


@pytest.fixture
def tree(home) -> Tree:
    return Tree(home)


def refused(call, code: str = "helper_untrusted") -> ColibriError:
    with pytest.raises(ColibriError) as caught:
        call()
    assert caught.value.code == code, caught.value.line()
    assert caught.value.status == 4
    return caught.value


def test_an_unchanged_tree_is_the_one_that_was_recorded(tree):
    recorded = tree.identify()
    assert (recorded.version, recorded.node) == (VERSION, str(tree.node))
    assert recorded == tree.identify()
    helper.verify(recorded)


def change(path: Path, **_: object) -> None:
    path.write_text("// changed")


@pytest.mark.parametrize(
    "deed",
    [
        lambda tree: tree.script.write_text("// changed"),
        lambda tree: (tree.modules / "dep" / "index.js").write_text("// changed"),
        lambda tree: (tree.modules / "dep" / "new.js").write_text(""),
        lambda tree: (tree.modules / "dep" / "index.js").unlink(),
        lambda tree: (tree.modules / "dep").rename(tree.modules / "dep2"),
        lambda tree: (tree.modules / "dep" / "link").symlink_to("index.js"),
        lambda tree: tree.node.write_text("// changed"),
        lambda tree: tree.describe("2026.8.98"),
    ],
    ids=["bw.js", "dependency", "added", "removed", "renamed", "link", "node", "version"],
)
def test_any_change_anywhere_in_tree_or_node_is_noticed(tree, deed):
    recorded = tree.identify()
    deed(tree)
    refused(lambda: helper.verify(recorded))


def test_the_manifest_is_over_names_and_contents(tree):
    lines = []
    for path in sorted(tree.modules.rglob("*"), key=lambda p: str(p.relative_to(tree.modules))):
        inner = str(path.relative_to(tree.modules))
        if path.is_symlink():
            lines.append((inner, f"L {inner}\0{os.readlink(path)}\n"))
        elif path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            lines.append((inner, f"F {inner}\0{digest}\n"))
    ordered = sorted(lines, key=lambda line: line[0].split("/"))
    wanted = hashlib.sha256("".join(text for _, text in ordered).encode()).hexdigest()
    node = hashlib.sha256(tree.node.read_bytes()).hexdigest()
    assert tree.identify().manifest == f"{wanted}:{node}"


@pytest.mark.parametrize("which", ["script", "package", "modules", "node"])
@pytest.mark.parametrize("mode", [0o020, 0o002])
def test_what_others_may_write_is_refused(tree, which, mode):
    path = getattr(tree, which)
    path.chmod(path.stat().st_mode & 0o7777 | mode)
    assert "can be written to by others" in refused(tree.identify).message


@pytest.mark.root
@pytest.mark.parametrize("which", ["script", "package", "modules", "node"])
def test_what_belongs_to_somebody_else_is_refused(tree, which):
    os.chown(getattr(tree, which), 1234, 1234)
    assert "belongs to uid 1234" in refused(tree.identify).message


@pytest.mark.parametrize("target", ["/usr/bin/env", "../../../../../etc/passwd"])
def test_a_link_out_of_the_tree_is_refused(tree, target):
    (tree.modules / "dep" / "out").symlink_to(target)
    assert "leads out" in refused(tree.identify).message


def test_a_link_on_the_way_is_refused(tree, home):
    (home / "linked").symlink_to(home / "lib")
    script = str(tree.script).replace(f"{home}/lib/", f"{home}/linked/")
    refused(lambda: helper.identify(script, str(tree.node)))


def test_something_that_is_no_file_is_refused(tree):
    os.mkfifo(tree.modules / "dep" / "fifo")
    assert "no regular file" in refused(tree.identify).message


def test_the_credential_stealer_is_refused_by_name_even_if_vouched_for(tree):
    tree.describe("2026.4.0")
    assert "2026.4.0" in refused(tree.identify).message
    refused(lambda: tree.identify(untested_version="2026.4.0"))


@pytest.mark.parametrize("version", ["2026.7.0", "2026.9.1", "2027.1.0", "1.0", "x", "", None, 3])
def test_a_version_that_nobody_tested_is_refused_unless_vouched_for(tree, version):
    tree.describe(version)
    assert "tested" in refused(tree.identify).message


def test_the_operator_can_vouch_for_exactly_one_version(tree):
    tree.describe("2026.10.0")
    assert tree.identify(untested_version="2026.10.0").version == "2026.10.0"
    refused(lambda: tree.identify(untested_version="2026.10.1"))


def test_another_package_is_refused(tree):
    tree.describe(VERSION, name="@bitwarden/cl1")
    refused(tree.identify)


@pytest.mark.parametrize("text", ["", "[]", "{", "\x00"])
def test_a_package_that_describes_nothing_is_refused(tree, text):
    (tree.package / "package.json").write_text(text)
    refused(tree.identify)


def test_a_bw_js_that_is_not_the_published_one_is_refused(tree):
    tree.describe(bw.OLDER)
    assert "not the published" in refused(tree.identify).message


@pytest.mark.parametrize("version", bw.VERSIONS)
def test_the_published_versions_are_known_by_their_hash(version):
    installed = bw.installed(version)
    digest = treehash.file_digest(str(installed.script), "helper_untrusted")
    assert helper._PUBLISHED[version] == digest


def test_a_directory_that_would_replace_ours_is_refused(tree):
    (tree.node.parent / "bw-data").mkdir()
    assert "bw-data" in refused(tree.identify).message


@pytest.mark.parametrize("which", ["script", "node"])
def test_what_is_not_there_is_missing(tree, which):
    getattr(tree, which).unlink()
    refused(tree.identify, "helper_missing")


def test_bw_js_needs_a_node(tree):
    refused(lambda: helper.identify(str(tree.script), ""), "helper_missing")


def test_a_script_outside_its_package_is_refused(home):
    (home / "bw.js").write_text("//")
    refused(lambda: helper.identify(str(home / "bw.js"), str(home / "bw.js")))


def test_a_program_that_looks_for_node_by_itself_is_refused(home):
    program = home / "bw"
    program.write_text("#!/usr/bin/env node\n")
    program.chmod(0o755)
    assert "--node" in refused(lambda: helper.identify(str(program), "")).hint


# Finding


def test_found_on_the_path_and_followed_to_the_package(tree, home):
    (home / "bin" / "bw").symlink_to("../lib/node_modules/.bin/bw")
    tree.script.chmod(0o755)
    tree.node.chmod(0o755)
    assert helper.find("", "", str(home / "bin")) == (str(tree.script), str(tree.node))


def test_given_paths_win(tree, home):
    assert helper.find(str(tree.script), str(tree.node), "/nonexistent") == (
        str(tree.script), str(tree.node),
    )  # fmt: skip


def test_nothing_on_the_path_is_missing(home):
    refused(lambda: helper.find("", "", str(home)), "helper_missing")


def test_a_relative_path_is_no_path():
    with pytest.raises(ColibriError) as caught:
        helper.find("bin/bw", "", "/nonexistent")
    assert caught.value.code == "usage"


def test_links_without_end_are_refused(home):
    (home / "a").symlink_to("b")
    (home / "b").symlink_to("a")
    refused(lambda: helper.find(str(home / "a"), "", ""))


def test_the_heap_is_bounded_and_the_address_space_is_not(tree):
    argv = tree.identify().argv("list", max_memory_bytes=3 << 30)
    assert argv == [str(tree.node), "--max-old-space-size=3072", str(tree.script), "list"]
