"""What the engine `bastille` does about Bastille's own ways; its stand-ins have them too."""

from __future__ import annotations

import json
import subprocess

import pytest

from tests.kit import engines
from tests.kit.engines import OWNER
from tests.kit.places import private_directory
from vault_svc.errors import ColibriError

pytestmark = pytest.mark.root


@pytest.fixture(params=["thin"])
def place(request):
    with private_directory() as top, engines.bastille(top, kind=request.param) as made:
        yield made


def code_of(call) -> str:
    with pytest.raises(ColibriError) as caught:
        call()
    return caught.value.code


def by_hand(place, *argv: str) -> subprocess.CompletedProcess:
    return subprocess.run([place.top / "bin/bastille", *argv], capture_output=True, check=False)


def conf(place, name: str):
    return place.base / name / "jail.conf"


@pytest.mark.parametrize("place", ["thin", "thick", "vnet"], indirect=True)
def test_each_kind_has_its_root_from_its_configuration_and_the_kernel(place):
    made = place.engine.create("acme", OWNER)
    assert (made.running, made.root) == (False, f"{place.base}/acme/root")
    place.engine.start("acme")
    assert place.engine.root_of("acme") == made.root
    place.engine.destroy("acme")
    assert place.engine.list() == []


def test_thin_jails_links_into_the_release_are_not_written_through(place):
    place.engine.create("acme", OWNER)
    assert (place.base / "acme/root/libexec").is_symlink()
    root = place.root("acme")
    refused = code_of(lambda: place.delivery("portable").place(root, ("libexec", "x"), b"A", OWNER))
    assert refused == "path_not_plain"


def test_kernel_and_configuration_that_disagree_are_refused(place):
    place.engine.create("acme", OWNER)
    place.engine.start("acme")
    kernel = place.base.parent / "kernel.json"
    kernel.write_text(json.dumps({"acme": {"jid": "1", "path": "/somewhere/else"}}))
    assert code_of(lambda: place.engine.root_of("acme")) == "jail_root_mismatch"


@pytest.mark.parametrize(
    "change",
    [
        ("acme {", "other {"),
        ("  mount.devfs;\n", "  path = /elsewhere;\n"),
        ("  path = ", "  #path = "),
        ("securelevel", "}\nother {\n  securelevel"),
    ],
    ids=["another-jail", "two-paths", "no-path", "two-jails"],
)
def test_a_configuration_that_is_not_of_one_jail_with_one_path_is_refused(place, change):
    place.engine.create("acme", OWNER)
    conf(place, "acme").write_text(conf(place, "acme").read_text().replace(*change))
    assert code_of(lambda: place.engine.root_of("acme")) == "jail_root_mismatch"


def test_a_configuration_that_others_may_write_is_refused(place):
    place.engine.create("acme", OWNER)
    conf(place, "acme").chmod(0o666)
    assert code_of(lambda: place.engine.root_of("acme")) == "unsafe_base"


def test_a_beginning_of_a_name_reaches_no_jail_although_bastille_takes_it(place):
    place.engine.create("acme1", OWNER)
    assert by_hand(place, "start", "acme").returncode == 0  # the control: it started acme1
    assert place.engine.list()[0].running
    for call in (place.engine.stop, place.engine.start, place.engine.destroy, place.engine.root_of):
        assert code_of(lambda call=call: call("acme")) == "jail_not_found"
    assert place.engine.list()[0].running


def test_a_tag_reaches_no_jail_although_bastille_takes_it(place):
    place.engine.create("acme", OWNER)
    (place.base / "acme/tags").write_text("blue\n")
    assert by_hand(place, "start", "blue").returncode == 0
    assert code_of(lambda: place.engine.stop("blue")) == "jail_not_found"
    assert place.engine.list()[0].running


def test_a_jail_whose_name_begins_another_is_not_given_to_bastille_to_destroy(place):
    for name in ("acme", "acme1"):
        place.engine.create(name, OWNER)
    assert code_of(lambda: place.engine.destroy("acme")) == "jail_taken"
    assert [info.name for info in place.engine.list()] == ["acme", "acme1"]
    place.engine.destroy("acme1")
    place.engine.destroy("acme")


def test_a_jail_that_colibri_did_not_make_is_not_destroyed(place):
    assert by_hand(place, "create", "acme", "14.3-RELEASE", "inherit").returncode == 0
    assert code_of(lambda: place.engine.destroy("acme")) == "jail_taken"
    assert place.engine.root_of("acme") == f"{place.base}/acme/root"


def test_a_start_that_did_nothing_and_said_it_went_well_is_a_failure(place):
    place.engine.create("acme", OWNER)
    (place.top / "bin/bastille").write_text("#!/bin/sh\necho no interface >&2\nexit 0\n")
    with pytest.raises(ColibriError, match="no interface") as caught:
        place.engine.start("acme")
    assert caught.value.code == "engine_failed"


def test_bastilles_refusal_to_work_in_an_open_directory_is_told(place):
    place.base.parent.chmod(0o755)
    with pytest.raises(ColibriError, match="chmod 0750"):
        place.engine.create("acme", OWNER)


@pytest.mark.parametrize("place", ["vnet"], indirect=True)
def test_a_vnet_jail_has_no_hyphen(place):
    assert code_of(lambda: place.engine.create("acme-1", OWNER)) == "jail_name_refused"


@pytest.mark.parametrize(
    "printed", ["", "{}", "[]", '{"jail-information": {"jail": [{"name": "x"}]}}', "not json"]
)
def test_what_is_no_answer_of_jls_is_a_failure(place, printed):
    place.engine.create("acme", OWNER)
    (place.top / "bin/jls").write_text(f"#!/bin/sh\nprintf '%s' '{printed}'\n")
    assert code_of(lambda: place.engine.root_of("acme")) == "engine_failed"
    assert place.engine.unavailable()
