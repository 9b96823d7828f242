"""What the documents say is what the code does."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest
import typer.main

from cli.app import app
from tests.kit import docs
from tests.kit.cli import Cli
from tests.runbooks import pages
from vault_svc import config
from vault_svc.settings import Settings, defaults

ROOT = docs.ROOT
PAGES = ["README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"]


def test_readme_opens_with_one_sentence_and_the_two_commands() -> None:
    lines = [line for line in (ROOT / "README.md").read_text().splitlines() if line]
    assert lines[0] == "# colibri"
    assert lines[1].count(". ") == 0
    assert [line.partition("#")[0].strip() for line in lines[3:5]] == ["make proof", "make test"]
    assert len((ROOT / "README.md").read_text().splitlines()) < 300


def test_settings_table_is_the_dataclass() -> None:
    rows = {row[0].strip("`"): row[1] for row in docs.rows("README.md", "Settings")}
    assert rows == docs.settings()
    assert all(row[2] for row in docs.rows("README.md", "Settings"))


def test_settings_that_are_accepted_without_effect_are_named() -> None:
    text = (ROOT / "README.md").read_text()
    assert all(f"`{name}`" in text for name in config._READ_ELSEWHERE - {"config"})


_CHOICES = {
    "walk": "portable",
    "allowed_variables": "PATH",
    "db_url": "sqlite:////other",
    "default_profile": "shell",
    "bastille_kind": "thick",
    "unregistered_jails": "refuse",
    "second_layer": "off",
}


@pytest.mark.parametrize("name", [each.name for each in fields(Settings)])
def test_every_setting_is_read_from_environment_and_file(name: str, tmp_path: Path) -> None:
    default = defaults("/x")[name]
    text = _CHOICES.get(name)
    if text is None:
        text = "1" if isinstance(default, (bool, int, float)) else "/other"
    given = config.load({f"COLIBRI_{name.upper()}": text, "COLIBRI_CONFIG": "/dev/null"})
    file = tmp_path / "colibri.toml"
    file.write_text(f'{name} = "{text}"\n')
    assert getattr(given, name) == getattr(config.load({}, str(file)), name)
    assert getattr(given, name) != getattr(config.load({"COLIBRI_CONFIG": "/dev/null"}), name)


def test_error_table_is_the_one_in_the_code() -> None:
    assert docs.rows("README.md", "Errors") == docs.codes()


def test_profile_table_names_the_readers_that_are_asked() -> None:
    rows = {row[0]: row[2] for row in docs.rows("README.md", "Profiles")}
    assert rows == docs.readers()


def test_quick_start_does_what_it_shows(state_dir: Path) -> None:
    cli = Cli(state_dir)
    blocks = pages.blocks("../README.md")
    commands = " ".join(block.commands for block in blocks)
    for step in ("init", "secret set", "register-tenant", "provision", "verify", "revoke"):
        assert f"colibri {step}" in commands
    output = "".join(pages.run(blocks, cli.environment, cli.home))
    assert "delivered, generation 1, 1 key" in output
    assert "'/home/app/.env' is gone" in output
    assert "intact" in output


@pytest.mark.parametrize("page", [*PAGES, "runbooks/README.md"])
def test_links_lead_somewhere(page: str) -> None:
    for target in docs.links(page):
        assert (ROOT / page).parent.joinpath(target).exists(), f"{page} points at {target}"


@pytest.mark.parametrize("page", PAGES)
def test_named_paths_are_there(page: str) -> None:
    text = (ROOT / page).read_text()
    named = re.findall(r"`((?:tests|vault_svc|cli|runbooks|\.ci)/[\w./-]*)`", text)
    for path in named:
        assert (ROOT / path).exists(), f"{page} names {path}"
    if page == "SECURITY.md":
        assert len(named) >= 12


@pytest.mark.parametrize(
    "page", [*PAGES, *(f"runbooks/{p.name}" for p in pages.RUNBOOKS.glob("*.md"))]
)
def test_named_commands_are_there(page: str) -> None:
    known = {""}

    def walk(command, prefix: str) -> None:
        for name, each in command.commands.items():
            known.add(f"{prefix}{name}")
            if hasattr(each, "commands"):
                walk(each, f"{prefix}{name} ")

    walk(typer.main.get_command(app), "")
    for words in re.findall(r"colibri ((?:[a-z][a-z-]* ?)+)", _code(page)):
        parts = words.split()
        longest = next(n for n in (3, 2, 1, 0) if " ".join(parts[:n]) in known)
        assert longest, f"{page} names colibri {words}"


def _code(page: str) -> str:
    """Return a page's commands: sh blocks, and code in a line that begins with colibri."""
    text = (ROOT / page).read_text()
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    commands = [line.strip() for line in lines if line.strip().startswith("colibri ")]
    return "\n".join(commands + re.findall(r"`(colibri [^`]+)`", text))


def test_make_targets_that_are_named_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"`make ([a-z-]+)", (ROOT / page).read_text()):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{page}: make {target}"


def test_changelog_has_the_version_that_is_built() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_no_document_has_a_path_of_the_machine_it_was_written_on() -> None:
    here = re.compile(r"(?<![\w/])/(?:work|root|home)/(?!app/)")
    for page in [*PAGES, *(f"runbooks/{p.name}" for p in pages.RUNBOOKS.glob("*.md"))]:
        assert not here.search((ROOT / page).read_text()), page
