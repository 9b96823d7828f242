"""Lint: the confined write never gives the kernel a path (containment rule 1, race rule 12)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2] / "vault_svc"
FILES = [
    *sorted((TREE / "hazmat").glob("confine*.py")),
    *sorted((TREE / "adapters").glob("delivery*.py")),
]

# Calls of os that take a path; each needs a descriptor argument to be relative to.
RELATIVE = {
    "open": "dir_fd", "stat": "dir_fd", "lstat": "dir_fd", "unlink": "dir_fd", "remove": "dir_fd",
    "rmdir": "dir_fd", "mkdir": "dir_fd", "mkfifo": "dir_fd", "mknod": "dir_fd",
    "readlink": "dir_fd", "symlink": "dir_fd", "access": "dir_fd", "utime": "dir_fd",
    "rename": "src_dir_fd", "replace": "src_dir_fd", "link": "src_dir_fd",
}  # fmt: skip
# Calls that have no business here at all, whatever they are given.
NEVER = {
    "chmod", "chown", "lchown", "lchmod", "chroot", "chdir", "makedirs", "removedirs", "renames",
    "walk", "truncate", "realpath", "abspath", "exists", "lexists", "isdir", "isfile", "islink",
    "getsize", "samefile", "copy", "copyfile", "copytree", "move", "rmtree", "system", "popen",
    "resolve", "read_text", "read_bytes", "write_text", "write_bytes", "touch", "mkstemp",
    "NamedTemporaryFile", "Path", "glob", "rglob", "iterdir",
}  # fmt: skip
# These take a descriptor or a path; the argument must be a plain name that holds a descriptor.
DESCRIPTOR = {"listdir", "scandir", "setxattr", "removexattr", "getxattr", "listxattr", "statvfs"}
HELD = {"fd", "parent", "inside", "dir_fd", "below", "above", "slash"}


def path_calls(source: str) -> list[str]:
    """Return `line: call` for every call that could resolve a path by itself."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module in {
            "os",
            "os.path",
            "shutil",
            "pathlib",
        }:
            found.append(f"{node.lineno}: from {node.module}")
        if isinstance(node, ast.Import):
            found += [
                f"{node.lineno}: {a.name}" for a in node.names if a.name in {"shutil", "pathlib"}
            ]
        if isinstance(node, ast.Call) and (name := _offence(node)):
            found.append(f"{node.lineno}: {name}")
    return found


def _offence(call: ast.Call) -> str:
    given = {keyword.arg for keyword in call.keywords}
    match call.func:
        case ast.Name(id="open"):
            return "open"
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in NEVER:
            return name
        case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in RELATIVE:
            return "" if RELATIVE[name] in given or _is_slash(name, call) else f"os.{name}"
        case ast.Attribute(value=ast.Name(id="os"), attr=name) if name in DESCRIPTOR:
            held = isinstance(call.args[0], ast.Name) and call.args[0].id in HELD
            return "" if held else f"os.{name}"
    return ""


def _is_slash(name: str, call: ast.Call) -> bool:
    """Allow the one path a walk must begin with: open("/")."""
    first = call.args[0] if call.args else None
    return name == "open" and isinstance(first, ast.Constant) and first.value == "/"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_confined_write_has_no_call_that_resolves_a_path(path):
    assert path_calls(path.read_text()) == []


def test_there_is_something_to_lint():
    assert len(FILES) >= 6


@pytest.mark.parametrize(
    "planted",
    [
        "open(p)", "os.open(p, os.O_RDONLY)", "os.chmod(p, 0o600)", "os.chown(p, 1, 1)",
        "os.rename(a, b)", "os.unlink(p)", "os.mkdir(p)", "os.path.exists(p)",
        "os.path.realpath(p)",
        "os.stat(p)", "os.lstat(p)", "os.listdir(p)", "os.scandir('.')", "pathlib.Path(p)",
        "Path(p).read_text()", "shutil.rmtree(p)", "from os import open", "import shutil",
        "os.replace(a, b, dst_dir_fd=d)", "os.link(a, b)", "os.readlink(p)", "os.open('/etc', 0)",
        "os.removexattr(path, 'x')", "os.truncate(p, 0)", "tempfile.mkstemp()",
    ],
)  # fmt: skip
def test_lint_sees_a_planted_path_call(planted):
    assert path_calls(f"import os\ndef f(p, a, b, d):\n    {planted}\n")


@pytest.mark.parametrize(
    "fine", ["os.open(n, 0, dir_fd=d)", "os.open('/', 0)", "os.fstat(fd)", "os.listdir(fd)"]
)
def test_lint_lets_descriptor_calls_through(fine):
    assert path_calls(f"import os\ndef f(n, d, fd):\n    {fine}\n") == []
