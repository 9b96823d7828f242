"""What an OCI runtime says is read strictly: no two readers could take it for two things."""

from __future__ import annotations

import json

import pytest

from vault_svc.domain import oci
from vault_svc.errors import ColibriError

STATE = {
    "ociVersion": "1.0.2",
    "id": "t1",
    "status": "creating",
    "pid": 4711,
    "bundle": "/run/bundle",
    "annotations": {"colibri.jail": "acme", "other": "x"},
}
CONFIG = {
    "ociVersion": "1.0.2",
    "root": {"path": "rootfs"},
    "annotations": {"colibri.jail": "acme"},
}


def text(whole: object) -> bytes:
    return json.dumps(whole).encode()


def code_of(call) -> str:
    with pytest.raises(ColibriError) as caught:
        call()
    return caught.value.code


def test_a_state_gives_process_bundle_and_jail():
    assert oci.state(text(STATE)) == oci.State(4711, "/run/bundle", "acme")
    assert oci.state(text(STATE | {"status": "created"})).pid == 4711


@pytest.mark.parametrize("annotations", [None, {}, {"colibri_jail": "acme"}])
def test_without_the_annotation_there_is_no_jail(annotations):
    assert oci.state(text(STATE | {"annotations": annotations})).jail is None


BAD = {
    "empty": b"",
    "no JSON": b"{",
    "two documents": text(STATE) + text(STATE),
    "a list": b"[]",
    "no UTF-8": text(STATE).replace(b"t1", b"\xff\xfe"),
    "UTF-16": json.dumps(STATE).encode("utf-16"),
    "NaN": text(STATE).replace(b"4711", b"NaN"),
    "too deep": b'{"a":' * 100_000,
    "too long": text(STATE | {"id": "x" * oci.MAX_STATE_BYTES}),
    "name twice": text(STATE).replace(b'"other"', b'"colibri.jail"'),
    "pid twice": text(STATE)[:-1] + b', "pid": 1}',
    "no version": text({k: v for k, v in STATE.items() if k != "ociVersion"}),
    **{f"status {s}": text(STATE | {"status": s}) for s in ("running", "stopped", None)},
    **{f"pid {p!r}": text(STATE | {"pid": p}) for p in (0, 1, -1, True, "4711", 4.5, 2**31, None)},
    **{
        f"bundle {b!r}": text(STATE | {"bundle": b})
        for b in ("", "run", "/", "/a/../b", "/a/", "//a", "/a/./b", "/a\0b", 7, None)
    },
    "annotations": text(STATE | {"annotations": ["colibri.jail"]}),
    "annotation": text(STATE | {"annotations": {"colibri.jail": 7}}),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_what_no_runtime_says_is_refused(bad):
    assert code_of(lambda: oci.state(bad)) == "usage"


def test_the_root_is_the_bundles():
    said = oci.state(text(STATE))
    assert oci.root_path(text(CONFIG), said) == "/run/bundle/rootfs"
    assert oci.root_path(text(CONFIG | {"root": {"path": "/srv/x"}}), said) == "/srv/x"


@pytest.mark.parametrize("path", ["", ".", "..", "../x", "a/../b", "/", "//x", "/x/", 7, None])
def test_a_root_that_is_no_canonical_path_is_refused(path):
    said = oci.state(text(STATE))
    assert code_of(lambda: oci.root_path(text(CONFIG | {"root": {"path": path}}), said)) == "usage"


@pytest.mark.parametrize("annotations", [{}, None, {"colibri.jail": "acme1"}])
def test_state_and_bundle_must_name_the_same_jail(annotations):
    said = oci.state(text(STATE))
    bundle = text(CONFIG | {"annotations": annotations})
    assert code_of(lambda: oci.root_path(bundle, said)) == "jail_root_mismatch"
