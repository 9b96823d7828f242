"""Lines of defence that stand behind another one, each seen to hold alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vault_svc.adapters.credentials.file import FileCredentials
from vault_svc.adapters.delivery import ConfinedDelivery
from vault_svc.errors import ColibriError
from vault_svc.ports.delivery import JailRoot


def test_a_state_directory_that_is_not_there_yet_is_kept_free(state_dir):
    """Without an inode to compare only the names can tell that a jail would contain it."""
    jail = state_dir / "jails" / "acme"
    jail.mkdir(parents=True)
    delivery = ConfinedDelivery([str(state_dir / "jails")], state_dir=str(jail / "state"))
    with pytest.raises(ColibriError) as caught:
        delivery.prove_root(JailRoot(str(jail)))
    assert caught.value.code == "jail_root_not_allowed"


def test_a_symlink_far_up_the_way_to_a_credential_is_not_followed(state_dir):
    """Not the file's own directory, and not the file: the directory above."""
    real = state_dir / "real" / "credentials"
    real.mkdir(parents=True, mode=0o700)
    (real / "host.key").write_text("secret")
    (real / "host.key").chmod(0o600)
    (state_dir / "link").symlink_to(state_dir / "real")
    files = FileCredentials()
    assert files.get(str(real / "host.key")).reveal() == "secret"
    with pytest.raises(ColibriError) as caught:
        files.get(str(state_dir / "link" / "credentials" / "host.key"))
    assert caught.value.code == "credential_unsafe"


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_the_process_is_protected_before_any_value_is_asked_for():
    """The credential store exists before a command reads stdin, and protects at once."""
    code = """if True:
        import ctypes
        from vault_svc.adapters.credentials.store import UriCredentials
        UriCredentials({})
        print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))
    """
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    assert ran.stdout == b"0\n"
