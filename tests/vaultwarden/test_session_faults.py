"""One session against a bw that misbehaves: a stable code, nothing left, nothing leaked.

The fake answers as the real one does; what the real one can be made to show is in
test_source.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.kit import fake_bw
from tests.kit.fake_bw import FakeBw
from tests.kit.places import CHECKOUT, private_directory
from tests.kit.stores import resolve_one, revealed
from tests.vaultwarden.place import fake_source, left_behind, options, still_running
from vault_svc.adapters.sources.vaultwarden import helper
from vault_svc.adapters.sources.vaultwarden.session import TRANSPORTS
from vault_svc.domain.secret import CollectionRef
from vault_svc.errors import CODES, ColibriError

REF = CollectionRef(fake_bw.ACME, "acme")
SECRETS = (fake_bw.PASSWORD, fake_bw.CLIENT_SECRET, fake_bw.VALUE, fake_bw.SESSION)


@pytest.fixture
def home():
    with private_directory() as made:
        yield made


@pytest.fixture
def fake(home) -> FakeBw:
    return FakeBw(home)


@pytest.fixture(params=sorted(TRANSPORTS))
def transport(request) -> str:
    return request.param


def nothing_is_left(home: Path) -> None:
    chosen = options(home)
    assert left_behind(chosen) == []
    assert still_running(chosen) == []


def failed(fake: FakeBw, home: Path, transport: str, **more) -> ColibriError:
    found = resolve_one(fake_source(fake, home, transport=transport, **more), REF)
    assert isinstance(found, ColibriError), found
    assert not [secret for secret in SECRETS if secret in found.line()]
    assert CODES[found.code].status in {4, 6, 10}
    nothing_is_left(home)
    return found


def test_a_read_is_one_session_and_leaves_nothing(fake, home, transport):
    found = resolve_one(fake_source(fake, home, transport=transport), REF)
    assert revealed(found) == {"API_KEY": fake_bw.VALUE}
    nothing_is_left(home)
    said = [line["argv"][1:3] for line in fake.log() if "--version" not in line["argv"]]
    assert [argv[0] for argv in said].count("login") == 1


def test_no_secret_is_in_an_argument_and_one_at_most_in_an_environment(fake, home, transport):
    resolve_one(fake_source(fake, home, transport=transport), REF)
    given = {
        "login": {fake_bw.CLIENT_SECRET},
        "unlock": set(),
        "serve": set(),
        "list": {fake_bw.SESSION},
    }
    seen = set()
    for line in fake.log():
        assert not [secret for secret in SECRETS if secret in " ".join(line["argv"])]
        if (step := line["argv"][1]) in given:
            held = {secret for secret in SECRETS if secret in " ".join(line["env"].values())}
            assert held == given[step], step
            assert "--nointeraction" in line["argv"]
            seen.add(step)
    assert seen == ({"login", "serve"} if transport == "serve" else {"login", "unlock", "list"})


def test_the_environment_is_made_from_nothing(fake, home, transport, monkeypatch):
    hostile = {
        "NODE_OPTIONS": "--require /tmp/x.js", "NODE_TLS_REJECT_UNAUTHORIZED": "0",
        "BW_CLEANEXIT": "1", "BW_QUIET": "true", "BW_SESSION": "x", "https_proxy": "http://x",
        "BITWARDENCLI_DEBUG": "true", "LD_PRELOAD": "", "SSLKEYLOGFILE": "/tmp/keys",
    }  # fmt: skip
    for name, value in hostile.items():
        monkeypatch.setenv(name, value)
    resolve_one(fake_source(fake, home, transport=transport), REF)
    base = {"PATH", "HOME", "LANG", "BITWARDENCLI_APPDATA_DIR", "BW_NOINTERACTION"}
    extra = {
        "login": {"BW_CLIENTID", "BW_CLIENTSECRET"}, "list": {"BW_SESSION"},
    }  # fmt: skip
    for line in fake.log():
        if line["argv"][1] == "--version":
            continue
        allowed = base | extra.get(line["argv"][1], set()) | {"LC_CTYPE"}  # python's own
        assert set(line["env"]) <= allowed
        assert base <= set(line["env"])
        assert line["env"]["BW_NOINTERACTION"] == "true"


STEPS = {
    "cli": ["login", "unlock", "list organizations", "list collections", "list items"],
    "serve": ["login", "serve", "unlock", "list organizations", "list collections", "list items"],
}
EVERY = [(kind, step) for kind, steps in STEPS.items() for step in steps]


@pytest.mark.parametrize(("kind", "step"), EVERY)
def test_a_hung_child_is_killed_in_time(fake, home, kind, step):
    fake.will(step, "hang")
    assert failed(fake, home, kind, timeout_seconds=1.5).code == "helper_timeout"


@pytest.mark.parametrize(("kind", "step"), EVERY)
def test_what_a_hung_child_started_is_killed_with_it(fake, home, kind, step):
    fake.will(step, "stray")
    assert failed(fake, home, kind, timeout_seconds=1.5).code == "helper_timeout"


@pytest.mark.parametrize(("kind", "step"), EVERY)
def test_a_child_that_is_killed_is_a_failure(fake, home, kind, step):
    fake.will(step, "die")
    assert failed(fake, home, kind).code == "source_incomplete"


@pytest.mark.parametrize(("kind", "step"), EVERY)
def test_a_child_that_floods_is_stopped(fake, home, kind, step):
    for deed in ("flood", "shout"):
        fake.will(step, deed)
        error = failed(fake, home, kind, max_output_bytes=300_000)
        assert error.code == "source_incomplete", deed


@pytest.mark.parametrize(("kind", "step"), EVERY)
def test_a_step_that_fails_or_ends_in_silence_is_a_failure(fake, home, kind, step):
    for deed in ("fail", "silent"):
        fake.will(step, deed)
        assert failed(fake, home, kind).code == "source_incomplete", deed


@pytest.mark.parametrize(("kind", "step"), [each for each in EVERY if each[1] != "serve"])
def test_unknown_words_on_stderr_are_a_failure_whatever_the_status_says(fake, home, kind, step):
    fake.will(step, "noise", "Warning: something that nobody measured\n")
    assert failed(fake, home, kind).code == "source_incomplete"


LISTS = ("organizations", "collections", "items")


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("what", LISTS)
def test_half_a_list_is_a_failure(fake, home, kind, what):
    fake.will(f"list {what}", "cut")
    assert failed(fake, home, kind).code == "source_incomplete"


@pytest.mark.parametrize("kind", STEPS)
def test_a_list_deeper_than_a_parser_goes_is_a_failure(fake, home, kind):
    fake.will("list items", "deep")
    assert failed(fake, home, kind).code == "source_incomplete"


@pytest.mark.parametrize("what", LISTS)
def test_a_good_answer_without_its_list_is_a_failure(fake, home, what):
    """It must not be taken for a list that was not asked for, and a tenant without secrets."""
    fake.will(f"list {what}", "bare")
    assert failed(fake, home, "serve").code == "source_incomplete"


@pytest.mark.parametrize("deed", ["cut", "deep"])
def test_a_state_that_is_not_whole_is_never_given_to_bw_again(fake, home, transport, deed):
    """It would empty it, and then talk to bitwarden.com."""
    fake.will("login", deed)
    assert failed(fake, home, transport).code == "source_incomplete"
    assert {line["argv"][1] for line in fake.log()} <= {"--version", "login"}


def test_a_refused_password_is_tried_once_and_then_not_again(fake, home, transport):
    fake.plan["password"] = "another"
    fake.save()
    assert failed(fake, home, transport).code == "source_auth_failed"
    before = len(fake.log())
    assert failed(fake, home, transport).code == "source_auth_failed"
    ran = [line["argv"][1] for line in fake.log()[before:]]
    assert set(ran) <= {"--version"}


def test_a_login_that_left_for_another_server_is_a_mismatch(fake, home, transport):
    user = f"user_{fake_bw.USER}_environment_environment"
    elsewhere = {"urls": {"base": fake_bw.SERVER, "identity": "https://elsewhere.example"}}
    fake.plan["synced"]["environment_environment"] = elsewhere
    fake.save()
    assert failed(fake, home, transport).code == "server_mismatch"
    assert not [line for line in fake.log() if line["argv"][1] in {"unlock", "serve"}], user


@pytest.mark.parametrize(
    ("key", "value"),
    [("sync_lastSync", None), ("sync_lastSync", "")],
)
def test_a_login_without_a_sync_is_not_read(fake, home, transport, key, value):
    fake.plan["synced"][key] = value
    fake.save()
    assert failed(fake, home, transport).code == "source_incomplete"
    ran = [line["argv"][1] for line in fake.log()]
    assert ran.count("sync") == 1
    assert not {"unlock", "serve"} & set(ran)


def test_a_helper_that_was_changed_is_not_run(fake, home, transport):
    source = fake_source(fake, home, transport=transport)
    recorded = fake.account()
    with fake.program.open("a") as program:
        program.write("\n# changed\n")
    before = len(fake.log())
    with pytest.raises(ColibriError) as caught:
        source.sessions.read(recorded, fake_bw.ORG, items=True)
    assert caught.value.code == "helper_untrusted"
    assert {line["argv"][1] for line in fake.log()[before:]} <= {"--version"}
    nothing_is_left(home)


# The lock


HOLD = """
import sys, time
from tests.vaultwarden.place import options
from vault_svc.adapters.clock import SystemClock
from vault_svc.adapters.sources.vaultwarden.lock import only_session
from vault_svc.adapters.sources.vaultwarden.session import LOCK
with only_session(f"{sys.argv[1]}/{LOCK}", SystemClock(), 5):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(home):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home)], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_wait_for_the_lock_is_bounded_and_says_who_holds_it(fake, home, holder, transport):
    error = failed(fake, home, transport, lock_timeout_seconds=0.5)
    assert error.code == "busy"
    assert f"process {holder.pid} since 20" in error.message
    assert error.retryable


def test_a_crashed_holder_gives_the_lock_back(fake, home, holder, transport):
    holder.kill()
    holder.wait()
    found = resolve_one(fake_source(fake, home, transport=transport, lock_timeout_seconds=5), REF)
    assert revealed(found) == {"API_KEY": fake_bw.VALUE}


# Ends that nobody planned


READ = """
import sys
from pathlib import Path
from tests.kit.fake_bw import FakeBw
from tests.kit.fake_bw import ACME
from tests.vaultwarden.place import source, options
from vault_svc.adapters.sources.vaultwarden import account as accounts
from vault_svc.domain.secret import CollectionRef, SecretValue
home, transport, blob = Path(sys.argv[1]), sys.argv[2], sys.stdin.read()
account = accounts.parse(SecretValue(blob), "stdin")
made = source(lambda: account, options(home, transport=transport))
print(list(made.resolve([CollectionRef(ACME, "acme")])), flush=True)
"""


def reading(
    fake: FakeBw, home: Path, transport: str, step: str, deed: str = "stray"
) -> subprocess.Popen[str]:
    """Start a read in a process of its own that hangs at step; return once it is there."""
    fake.will(step, deed)
    before = len(fake.log())
    process = subprocess.Popen(
        [sys.executable, "-c", READ, str(home), transport], cwd=CHECKOUT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    process.stdin.write(fake.account().blob().reveal())
    process.stdin.close()
    process.stdin = None
    first = "serve" if transport == "serve" and step != "login" else step.split(maxsplit=1)[0]
    give_up = time.monotonic() + 30
    while not any(line["argv"][1] == first for line in fake.log()[before:]):
        assert time.monotonic() < give_up
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    time.sleep(0.3)
    return process


def gone(chosen) -> bool:
    give_up = time.monotonic() + 10
    while still_running(chosen) and time.monotonic() < give_up:
        time.sleep(0.02)
    return not still_running(chosen)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize(
    ("kind", "step"), [("cli", "login"), ("cli", "unlock"), ("serve", "unlock")]
)
def test_a_signal_ends_us_only_after_everything_is_gone(fake, home, kind, step, number):
    process = reading(fake, home, kind, step)
    assert left_behind(options(home))
    process.send_signal(number)
    said, wrong = process.communicate(timeout=20)
    expected = {signal.SIGINT: {1, -signal.SIGINT, 130}}.get(number, {-number})
    assert process.returncode in expected
    assert "SecretSet" not in said
    assert not [secret for secret in SECRETS if secret in wrong + said]
    nothing_is_left(home)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a parent-death signal")
@pytest.mark.parametrize(("kind", "step"), [("cli", "login"), ("serve", "unlock")])
def test_when_we_are_killed_so_is_the_child_and_the_next_read_sweeps(fake, home, kind, step):
    process = reading(fake, home, kind, step, "hang")
    process.kill()
    process.communicate(timeout=20)
    chosen = options(home)
    assert gone(chosen)
    (left,) = left_behind(chosen)
    assert os.listdir(left)
    fake.plan["deeds"].clear()
    fake.save()
    found = resolve_one(fake_source(fake, home, transport=kind), REF)
    assert revealed(found) == {"API_KEY": fake_bw.VALUE}
    nothing_is_left(home)


def test_the_sweep_leaves_other_peoples_directories(fake, home, transport):
    with private_directory() as other:
        theirs = FakeBw(other)
        process = reading(theirs, other, "cli", "login", "hang")
        try:
            resolve_one(fake_source(fake, home, transport=transport), REF)
            assert left_behind(options(other))
        finally:
            process.kill()
            process.communicate(timeout=20)
            theirs.plan["deeds"].clear()
            theirs.save()
            resolve_one(fake_source(theirs, other, transport="cli"), REF)
    nothing_is_left(home)


def test_a_place_on_disk_is_used_where_that_is_what_the_operator_names(fake, home, transport):
    runtime = home / "runtime"
    runtime.mkdir(mode=0o700)
    fake.will("login", "fail")
    failed(fake, home, transport, runtime_dir=str(runtime))
    assert os.listdir(runtime) == []
    runtime.chmod(0o777)
    fake.plan["deeds"].clear()
    assert failed_raw(fake, home, runtime).code == "unsafe_base"


def failed_raw(fake: FakeBw, home: Path, runtime: Path) -> ColibriError:
    found = resolve_one(fake_source(fake, home, runtime_dir=str(runtime)), REF)
    assert isinstance(found, ColibriError)
    return found


def test_the_private_directory_and_what_is_in_it_are_ours_alone(fake, home):
    process = reading(fake, home, "cli", "unlock")
    try:
        (left,) = map(Path, left_behind(options(home)))
        assert left.stat().st_mode & 0o7777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in left.iterdir()} <= {0o600}
        state = json.loads((left / "data.json").read_text())
        assert state["global_applicationId_appId"] == fake_bw.DEVICE
    finally:
        process.terminate()
        process.communicate(timeout=20)
    nothing_is_left(home)


def test_the_fake_is_no_way_around_the_version_table(home):
    with pytest.raises(ColibriError) as caught:
        fake = FakeBw(home)
        fake.program.write_text(fake.program.read_text().replace(fake_bw.VERSION, "2026.4.0"))
        helper.identify(str(fake.program), "")
    assert caught.value.code == "helper_untrusted"
    assert "2026.4.0" in caught.value.message
