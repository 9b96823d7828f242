"""Credentials by URI: kept where only we can read or replace them."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys

import pytest

from vault_svc.adapters.credentials.file import FileCredentials
from vault_svc.adapters.credentials.store import UriCredentials
from vault_svc.adapters.credentials.systemd import SystemdCredentials
from vault_svc.domain.secret import SecretValue
from vault_svc.errors import ColibriError
from vault_svc.hazmat import hostfiles


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home").mkdir(mode=0o700)
    return tmp_path / "home"


@pytest.fixture
def kept(home):
    """A credential that is kept well."""
    path = home / "credential"
    path.write_text("canary\n")
    path.chmod(0o600)
    return path


def get(path) -> str:
    return UriCredentials().get(f"file:{path}").reveal()


def refused(call) -> ColibriError:
    with pytest.raises(ColibriError) as caught:
        call()
    assert "canary" not in caught.value.line()
    return caught.value


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_private_file_is_read_exactly(kept, mode):
    kept.chmod(mode)
    assert get(kept) == "canary\n"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o700, 0o644, 0o4600, 0o200])
def test_every_other_mode_is_refused_with_what_to_do(kept, mode):
    kept.chmod(mode)
    error = refused(lambda: get(kept))
    assert error.code == "credential_unsafe"
    if os.geteuid() == 0 or mode != 0o200:
        assert "chmod 0600" in error.hint


def test_a_symlink_is_not_followed_even_to_a_good_file(kept, home):
    (home / "link").symlink_to(kept)
    assert refused(lambda: get(home / "link")).code == "credential_unsafe"


def test_a_symlink_on_the_way_is_not_followed(kept, tmp_path):
    (tmp_path / "way").symlink_to(kept.parent)
    assert refused(lambda: get(tmp_path / "way" / kept.name)).code == "credential_unsafe"


@pytest.mark.parametrize("kind", ["fifo", "socket", "directory"])
def test_what_is_no_file_is_refused_at_once(home, kind):
    path = home / "it"
    if kind == "fifo":
        os.mkfifo(path, 0o600)
    elif kind == "directory":
        path.mkdir(mode=0o600)
    else:
        os.mknod(path, stat.S_IFSOCK | 0o600)
    assert refused(lambda: get(path)).code == "credential_unsafe"
    assert refused(lambda: UriCredentials().put(f"file:{path}", SecretValue("canary"))).code == (
        "credential_unsafe"
    )


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o720, 0o777, 0o1777])
def test_a_directory_others_can_write_is_no_place_for_it(kept, mode):
    kept.parent.chmod(mode)
    assert refused(lambda: get(kept)).code == "credential_unsafe"
    assert refused(lambda: UriCredentials().exists(f"file:{kept}")).code == "credential_unsafe"


@pytest.mark.parametrize(("mode", "good"), [(0o777, False), (0o770, False), (0o1777, True)])
def test_above_it_only_a_sticky_directory_may_be_shared(tmp_path, mode, good):
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "home").mkdir(mode=0o700)
    path = tmp_path / "shared" / "home" / "it"
    path.write_text("canary")
    path.chmod(0o600)
    (tmp_path / "shared").chmod(mode)
    if good:
        assert get(path) == "canary"
    else:
        assert refused(lambda: get(path)).code == "credential_unsafe"


@pytest.mark.root
@pytest.mark.parametrize("strange", ["file", "directory", "above"])
def test_what_belongs_to_somebody_else_is_refused(kept, tmp_path, strange):
    os.chown({"file": kept, "directory": kept.parent, "above": tmp_path}[strange], 1000, 1000)
    assert refused(lambda: get(kept)).code == "credential_unsafe"


@pytest.mark.root
def test_roots_file_serves_a_service_that_may_read_it(kept, monkeypatch):
    """The rule is about who may replace it: root's is as good as ours."""
    monkeypatch.setattr(hostfiles.os, "geteuid", lambda: 1000)
    assert get(kept) == "canary\n"


@pytest.mark.parametrize(
    "path", ["relative", "", "/", "/a//b", "/a/../b", "/a/./b", "/a/", "/a\0b"]
)
def test_only_plain_absolute_paths_are_taken(path):
    assert refused(lambda: UriCredentials().get(f"file:{path}")).code in {
        "credential_unsafe",
        "usage",
    }


def test_what_is_not_there_is_missing(home):
    assert refused(lambda: get(home / "no")).code == "credential_missing"
    assert refused(lambda: get(home / "no" / "no")).code == "credential_missing"
    assert not UriCredentials().exists(f"file:{home}/no/no")
    assert not UriCredentials().exists(f"file:{home}/no")


def test_put_makes_a_private_file_whatever_the_umask(home):
    old = os.umask(0)
    try:
        UriCredentials().put(f"file:{home}/it", SecretValue("ö"))
    finally:
        os.umask(old)
    assert stat.S_IMODE((home / "it").stat().st_mode) == 0o600
    assert get(home / "it") == "ö"
    assert UriCredentials().exists(f"file:{home}/it")


def test_put_replaces_by_a_new_file_and_leaves_nothing_behind(kept):
    before = kept.stat().st_ino
    with kept.open() as open_before:
        UriCredentials().put(f"file:{kept}", SecretValue("new"))
        assert open_before.read() == "canary\n"
    assert kept.stat().st_ino != before
    assert os.listdir(kept.parent) == [kept.name]


def test_put_sweeps_what_a_crash_left_of_this_credential_only(kept):
    mine = kept.parent / f".{kept.name}.tmp-00"
    other = kept.parent / ".other.tmp-00"
    mine.touch()
    other.touch()
    UriCredentials().put(f"file:{kept}", SecretValue("new"))
    assert (mine.exists(), other.exists()) == (False, True)


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, "no_space"), (errno.EROFS, "read_only")]
)
@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_disk_that_refuses_leaves_the_old_credential(kept, monkeypatch, call, number, code):
    def fails(*args, **kwargs):
        raise OSError(number, "no")

    monkeypatch.setattr(hostfiles.os, call, fails)
    error = refused(lambda: UriCredentials().put(f"file:{kept}", SecretValue("canary2")))
    monkeypatch.undo()
    assert error.code == code
    assert get(kept) == "canary\n"
    assert os.listdir(kept.parent) == [kept.name]


def test_the_file_is_durable_before_its_name_and_the_name_before_the_end(kept, monkeypatch):
    calls = []
    for name in ("write", "fsync", "rename"):
        real = getattr(os, name)

        def noted(*args, name=name, real=real, **kwargs):
            kind = ""
            if name == "fsync":
                kind = "-dir" if stat.S_ISDIR(os.fstat(args[0]).st_mode) else "-file"
            calls.append(name + kind)
            return real(*args, **kwargs)

        monkeypatch.setattr(hostfiles.os, name, noted)
    UriCredentials().put(f"file:{kept}", SecretValue("new"))
    monkeypatch.undo()
    assert calls == ["write", "fsync-file", "rename", "fsync-dir"]


def test_put_into_a_missing_directory_is_told(home):
    error = refused(lambda: UriCredentials().put(f"file:{home}/no/it", SecretValue("canary")))
    assert error.code == "path_missing"


def test_delete_is_done_already_the_second_time(kept):
    UriCredentials().delete(f"file:{kept}")
    UriCredentials().delete(f"file:{kept}")
    UriCredentials().delete(f"file:{kept.parent}/no/no")
    assert not kept.exists()


def test_a_credential_over_the_limit_is_neither_read_nor_written(kept):
    files = FileCredentials(max_bytes=6)
    assert refused(lambda: files.get(str(kept))).code == "credential_unsafe"
    assert refused(lambda: files.put(str(kept), SecretValue("canary!"))).code == "credential_unsafe"
    kept.write_text("123456")
    assert files.get(str(kept)).reveal() == "123456"


def test_bytes_that_are_no_text_are_not_quoted(kept):
    kept.write_bytes(b"canary\xff")
    error = refused(lambda: get(kept))
    assert (error.code, error.__cause__) == ("credential_unsafe", None)


def test_no_descriptor_is_left_open(kept):
    def count():
        return len(os.listdir("/proc/self/fd"))

    get(kept)
    before = count()
    for _ in range(20):
        get(kept)
        UriCredentials().put(f"file:{kept}", SecretValue("canary\n"))
        refused(lambda: get(kept.parent / "no"))
        refused(lambda: get(kept.parent))
    assert count() == before


@pytest.mark.parametrize(
    "uri", ["env:X", "canary-typed-here", "file", "FILE:/x", ":x", "keyring:x"]
)
def test_an_unknown_uri_is_wrong_usage_and_is_not_quoted(uri):
    assert refused(lambda: UriCredentials().get(uri)).code == "usage"


def systemd(directory) -> SystemdCredentials:
    files = FileCredentials(modes={0o400, 0o440})
    return SystemdCredentials(files, lambda: None if directory is None else str(directory))


def test_systemds_credential_is_read_from_its_directory(home, monkeypatch):
    (home / "org").write_text("canary")
    (home / "org").chmod(0o440)
    assert systemd(home).get("org").reveal() == "canary"
    assert systemd(home).exists("org")
    assert not systemd(home).exists("other")
    assert refused(lambda: systemd(home).get("other")).code == "credential_missing"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(home))
    assert UriCredentials().get("systemd:org").reveal() == "canary"


def test_without_systemd_the_hint_says_how(home):
    error = refused(lambda: systemd(None).get("org"))
    assert error.code == "credential_missing"
    assert "systemd-creds encrypt --name=org -" in error.hint
    assert "LoadCredentialEncrypted=org:" in error.hint
    assert not systemd(None).exists("org")


def test_systemds_credentials_cannot_be_written(home):
    error = refused(lambda: systemd(home).put("org", SecretValue("canary")))
    assert (error.code, "systemd-creds encrypt --name=org -" in error.hint) == ("usage", True)
    assert refused(lambda: systemd(home).delete("org")).code == "usage"


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".x", "x\n", "-x"])
def test_a_systemd_name_is_one_plain_component(home, name):
    assert refused(lambda: systemd(home).get(name)).code == "usage"


def test_the_process_is_protected_before_the_first_secret_is_read(kept):
    """In a process of its own, because the flag stays set."""
    code = """if True:
        import ctypes, resource, sys
        from vault_svc.adapters.credentials.store import UriCredentials
        class Scheme:
            def get(self, rest):
                print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
                print(resource.getrlimit(resource.RLIMIT_CORE))
        print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
        UriCredentials({"x": Scheme()}).get("x:y")
    """
    if sys.platform != "linux":
        code = code.replace("ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)", "0")
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.split("\n")[1:3] == ["0", "(0, 0)"]
    assert sys.platform != "linux" or ran.stdout[0] == "1"
