"""Settings: what is unknown or of the wrong kind is refused, never guessed."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from vault_svc.config import load
from vault_svc.errors import ColibriError
from vault_svc.settings import ENGINE_BASES, Settings
from vault_svc.wiring import Services

TYPED = "Xq7-not-to-be-shown"


@pytest.fixture
def empty(tmp_path) -> str:
    """A settings file with nothing in it, so that none of this host's is read."""
    path = tmp_path / "colibri.toml"
    path.write_text("")
    return str(path)


def refused(environ: dict[str, str], file: str) -> ColibriError:
    with pytest.raises(ColibriError) as caught:
        load(environ, file)
    assert caught.value.code == "usage"
    assert caught.value.hint
    return caught.value


def test_defaults_lie_in_the_data_directory(empty):
    settings = load({"COLIBRI_DAEMON_DATA_DIR": "/srv/colibri"}, empty)
    assert settings.db_path == "/srv/colibri/colibri.sqlite"
    assert settings.jail_root_base == ("/srv/colibri/jails", *ENGINE_BASES)
    assert settings.tree_bases == ("/srv/colibri/jails",)
    assert settings.host_key == "file:/srv/colibri/credentials/host.key"
    assert not settings.allow_walk_fallback
    assert not settings.create_parents
    assert settings.allowed_variables == frozenset()


@pytest.mark.parametrize("name", ["COLIBRI_HOTS", "COLIBRI_", "COLIBRI_ALLOW_WALK_FALLBAK"])
def test_an_unknown_variable_is_refused(empty, name):
    """A typing error must not leave a protection at a default nobody wanted."""
    error = refused({name: TYPED}, empty)
    assert name in error.message
    assert TYPED not in error.line()


@pytest.mark.parametrize("text", ["hots = 'x'", "[section]\nhost = 'x'", "HOST = 'x'"])
def test_an_unknown_key_in_the_file_is_refused(tmp_path, text):
    path = tmp_path / "colibri.toml"
    path.write_text(text)
    assert "unknown key" in refused({}, str(path)).message


def test_variables_that_other_parts_read_are_known(empty):
    load({"COLIBRI_COST_MODE": "max", "COLIBRI_MCP_WRITE": "1", "PATH": "/bin"}, empty)


def test_the_environment_wins_over_the_file(tmp_path):
    path = tmp_path / "colibri.toml"
    path.write_text("host = 'from-file'\nbatch_size = 7\n")
    settings = load({"COLIBRI_HOST": "from-environment"}, str(path))
    assert (settings.host, settings.batch_size) == ("from-environment", 7)


def test_the_file_named_in_the_environment_must_be_there(tmp_path):
    assert "no settings file" in refused({"COLIBRI_CONFIG": str(tmp_path / "no")}, "").message


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("BATCH_SIZE", TYPED),
        ("BATCH_SIZE", "0"),
        ("LOCK_TIMEOUT_SECONDS", "-1"),
        ("ALLOW_WALK_FALLBACK", TYPED),
        ("DAEMON_DATA_DIR", f"relative/{TYPED}"),
        ("WALK", TYPED),
        ("DEFAULT_OWNER_UID", TYPED),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_and_not_shown(empty, name, text):
    error = refused({f"COLIBRI_{name}": text}, empty)
    assert name.lower() in error.message
    assert TYPED not in error.line()


@pytest.mark.parametrize("content", [b"host = ", b"\xff", b"host = 3"])
def test_a_file_that_makes_no_sense_is_refused(tmp_path, content):
    path = tmp_path / "colibri.toml"
    path.write_bytes(content)
    refused({}, str(path))


def test_every_setting_can_be_given_by_environment(empty):
    """By its own default, as text; so the list in the README is the list of fields."""
    base = {"COLIBRI_DAEMON_DATA_DIR": "/srv/colibri"}
    before = load(base, empty)
    texts = {}
    for field in fields(Settings):
        value = getattr(before, field.name)
        if isinstance(value, tuple | frozenset):
            value = ":".join(value)
        texts[f"COLIBRI_{field.name.upper()}"] = str(value)
    assert load(base | texts, empty) == before
    assert Path(before.inside("x")) == Path("/srv/colibri/x")


@pytest.mark.parametrize(
    "text",
    [
        "batch_size = 1.5",
        "batch_size = inf",
        "batch_size = 99999999999999999999",
        "max_env_bytes = 99999999999999",
        "lock_timeout_seconds = nan",
        "lock_timeout_seconds = inf",
        "default_owner_uid = 4294967295",
        "default_owner_gid = -1",
        "jail_root_base = ''",
        "jail_root_base = 'relative'",
        "jail_root_base = ['/srv/jails', 'relative']",
        "host = ''",
        'host = "a\\u001b[31m"',
    ],
)
def test_a_value_that_would_only_fail_later_is_refused(tmp_path, text):
    path = tmp_path / "colibri.toml"
    path.write_text(text)
    assert text.split()[0] in refused({}, str(path)).message


def test_a_host_name_that_is_no_text_is_refused(empty):
    refused({"COLIBRI_HOST": "\udcff"}, empty)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('db_url = "mysql://h/d"', "db_url"),
        ('default_profile = "nonsense"', "default_profile"),
        ("x = = 1", "line 1"),
        ('hots = "a"', "did you mean host"),
    ],
)
def test_a_mistake_is_told_with_where_it_is(tmp_path, line, message):
    file = tmp_path / "colibri.toml"
    file.write_text(line)
    with pytest.raises(ColibriError) as caught:
        load({}, str(file))
    assert caught.value.code == "usage"
    assert message in caught.value.line()


@pytest.mark.parametrize("mode", [0o666, 0o620, 0o602])
def test_a_settings_file_that_others_can_change_is_refused(tmp_path, mode):
    file = tmp_path / "colibri.toml"
    file.write_text('host = "a"')
    file.chmod(mode)
    with pytest.raises(ColibriError) as caught:
        load({}, str(file))
    assert "can be changed by others" in caught.value.message


def test_a_settings_file_that_is_no_file_is_refused(tmp_path):
    with pytest.raises(ColibriError):
        load({}, str(tmp_path))


@pytest.mark.parametrize("name", ["default_engine", "default_source"])
def test_defaults_that_are_not_there_are_refused_before_anything_is_opened(empty, name):
    with pytest.raises(ColibriError) as caught:
        Services(load({f"COLIBRI_{name.upper()}": "x"}, empty))
    assert name in caught.value.message


def test_doctor_is_told_what_nobody_has_proven(empty, monkeypatch):
    assert Services(load({}, empty))._unproven() == []
    far = Services(load({"COLIBRI_DB_URL": "postgresql://h/d"}, empty))
    assert far._unproven() == ["registry PostgreSQL"]
    monkeypatch.setattr("vault_svc.wiring.sys.platform", "freebsd14")
    assert far._unproven() == ["system freebsd14", "registry PostgreSQL"]


@pytest.mark.parametrize(
    "place", ["/", "//", "/x/..", "/root/a\nb", "/root/\x1b[31m", "/root/\udcff"]
)
def test_a_data_directory_that_is_none_is_refused(empty, place):
    assert refused({"COLIBRI_DAEMON_DATA_DIR": place}, empty).message.isprintable()
