from __future__ import annotations

import pytest

from vault_svc.domain.paths import jail_path
from vault_svc.errors import ColibriError


def test_exactly_one_leading_slash_is_taken_off():
    assert jail_path("/.env") == (".env",)
    assert jail_path("/home/app/.env") == ("home", "app", ".env")


@pytest.mark.parametrize(
    "bad",
    [
        "", "/", "//", "//etc/x", "a", "home/app/.env", "/..", "/a/../..", "/../x", "/a//b", "/a/.",
        "/a/", "/a\0b", "/a\n", "/\x1b[2J", "/a\u202eb", "/é", "/\udcff", "/" + "x" * 256,
        "/" + "/".join("a" * 600), "/home/app/.colibri-0123456789abcdef01234567.tmp",
    ],
)  # fmt: skip
def test_paths_refused_before_any_system_call(bad):
    with pytest.raises(ColibriError) as caught:
        jail_path(bad)
    assert caught.value.code == "bad_path"
    assert caught.value.line().isprintable()
