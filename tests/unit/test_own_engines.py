"""Engines of the operator's own: found by entry point, and refused with the reason."""

from __future__ import annotations

import sys

import pytest

from tests.kit.cli import Cli
from vault_svc.adapters.jails import plugins
from vault_svc.errors import ColibriError

GOOD = """
from vault_svc.adapters.jails.directory import DirectoryEngine
class Engine(DirectoryEngine):
    name = "mine"
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install modules with entry points; monkeypatch takes them out again."""

    def install(source: str = GOOD, name: str = "mine", dist: str = "own") -> None:
        info = tmp_path / f"{dist}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(
            f"[{plugins.GROUP}]\n{name} = {dist}_engine:Engine\n"
        )
        (tmp_path / f"{dist}_engine.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, f"{dist}_engine", raising=False)

    return install


def refused(name: str = "mine") -> str:
    with pytest.raises(ColibriError) as caught:
        plugins.load(plugins.found(("directory",))[name], ["/nowhere"])
    return f"{caught.value.code}: {caught.value.message}"


def test_an_installed_engine_makes_jails_by_the_command_line(installed, state_dir):
    installed()
    cli = Cli(state_dir).ready()
    assert cli.must("jail", "create", "acme", "--engine", "mine", "--json").json["jail"]["engine"]
    listed = cli.must("jail", "list", "--json").json["items"]
    assert [(each["name"], each["engine"]) for each in listed] == [("acme", "mine")]
    assert "mine" in cli.must("doctor").text


@pytest.mark.parametrize("name", ["directory", "Mine", "m_1"])
def test_a_name_that_is_taken_or_none_is_refused(installed, name):
    installed(name=name)
    with pytest.raises(ColibriError) as caught:
        plugins.found(("directory",))
    assert caught.value.code == "usage"


def test_a_name_twice_is_refused(installed):
    installed(dist="own")
    installed(dist="two")
    with pytest.raises(ColibriError):
        plugins.found(())


def test_an_engine_that_fails_is_named_without_its_words(installed):
    installed('raise RuntimeError("sk-live-0123")')
    assert refused().startswith("engine_failed: the installed engine 'mine'")
    assert "sk-live" not in refused()


def test_an_engine_that_lacks_something_is_told_what(installed):
    installed("class Engine:\n    name = 'mine'\n    def __init__(self, bases): pass\n")
    assert "root_of" in refused()


def test_an_engine_of_another_name_is_refused(installed):
    installed(GOOD.replace('"mine"', '"other"'))
    assert "its name is another" in refused()
