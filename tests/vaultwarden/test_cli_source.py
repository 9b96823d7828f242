"""`colibri source`: what is asked, in which order, what is kept, and what is said.

Over the fake bw, which needs no server; the last tests use the real one and the double.
"""

from __future__ import annotations

import os
import pty
import subprocess
import time

import pytest

from tests.kit import bw, fake_bw, schemas
from tests.kit.cli import INSTALLED, Cli, Result
from tests.kit.fake_bw import FakeBw
from tests.kit.vaultwarden import Access, Double, Role
from tests.vaultwarden import place
from vault_svc.adapters.credentials.store import UriCredentials
from vault_svc.adapters.sources.vaultwarden import account as accounts
from vault_svc.domain.secret import SecretValue

SECRETS = (fake_bw.CLIENT_SECRET, fake_bw.PASSWORD, fake_bw.VALUE)
LINES = "\n".join([f"user.{fake_bw.USER}", fake_bw.CLIENT_SECRET, fake_bw.PASSWORD]).encode()


@pytest.fixture
def fake(state_dir) -> FakeBw:
    return FakeBw(state_dir)


def login(cli: Cli, fake: FakeBw, *more: str, lines: bytes = LINES) -> Result:
    argv = ("source", "login", "vaultwarden", "--server", fake_bw.SERVER,
            "--organization", "Acme", "--bw", str(fake.program))  # fmt: skip
    return cli.run(*argv, *more, stdin=lines)


def kept(cli: Cli) -> accounts.Account | None:
    uri = f"file:{cli.state}/credentials/vaultwarden"
    store = UriCredentials()
    return accounts.parse(store.get(uri), uri) if store.exists(uri) else None


def events(cli: Cli) -> list[str]:
    items = cli.must("audit", "tail", "--json").json["items"]
    return [item["event"] for item in items]


def quiet(result: Result) -> Result:
    told = result.text + result.stderr
    assert not [secret for secret in SECRETS if secret in told]
    return result


def fine(result: Result) -> dict:
    document = quiet(result.must()).json
    assert schemas.complaints(document) == []
    for how, spoiled in schemas.spoiled(document):
        assert schemas.complaints(spoiled), how
    return document


def test_login_proves_stores_and_says_so(cli, fake):
    document = fine(login(cli, fake, "--json"))
    assert document["organization_id"] == fake_bw.ORG
    assert document["collections"] == 1
    account = kept(cli)
    assert account.client_secret.reveal() == fake_bw.CLIENT_SECRET
    assert account.password.reveal() == fake_bw.PASSWORD
    assert accounts.UUID.fullmatch(account.device_id)
    path = cli.state / "credentials" / "vaultwarden"
    assert path.stat().st_mode & 0o777 == 0o600
    assert events(cli)[-1] == "source_login"
    log = (cli.state / "audit" / "audit.jsonl").read_text()
    assert not [secret for secret in SECRETS if secret in log]


def test_everything_else_says_one_document_too(cli, fake):
    login(cli, fake).must()
    assert fine(cli.run("source", "show", "vaultwarden", "--json"))["collections"] is None
    assert fine(cli.run("source", "test", "vaultwarden", "--json"))["collections"] == 1
    looked = cli.run("source", "doctor", "vaultwarden", "--json")
    assert schemas.complaints(quiet(looked).json) == []
    assert fine(cli.run("source", "logout", "vaultwarden", "--json"))["changed"] is True
    assert fine(cli.run("source", "logout", "vaultwarden", "--json"))["changed"] is False
    assert kept(cli) is None
    assert events(cli)[-1] == "source_logout"
    assert cli.run("source", "show", "vaultwarden").error["code"] == "credential_missing"


def test_an_untrusted_helper_is_refused_before_anything_is_asked(cli, fake):
    fake.program.chmod(0o777)
    result = quiet(login(cli, fake, lines=b""))
    assert (result.status, result.error["code"]) == (4, "helper_untrusted")
    assert fake.log() == []
    assert kept(cli) is None


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        (b"", "lines"),
        (LINES + b"\nmore", "lines"),
        (LINES.replace(b"user.", b"organization."), "organisation"),
        (b"\n".join(reversed(LINES.split(b"\n"))), "client id"),
        (f"user.{fake_bw.USER}\n\n{fake_bw.PASSWORD}".encode(), "client secret"),
        (LINES.replace(b"\n", b"\r\n"), "line end"),
    ],
)
def test_what_is_no_account_is_refused_before_a_server_is_asked(cli, fake, lines, word):
    result = quiet(login(cli, fake, lines=lines))
    assert result.status == 2
    assert word in result.error["message"] + result.error["hint"]
    assert {line["argv"][1] for line in fake.log()} <= {"--version"}
    assert kept(cli) is None


def test_the_old_account_stays_when_the_new_one_is_not_proven(cli, fake):
    login(cli, fake).must()
    before = kept(cli).blob()
    wrong = LINES.replace(fake_bw.PASSWORD.encode(), b"wrong-password-0123456789")
    result = quiet(login(cli, fake, lines=wrong))
    assert (result.status, result.error["code"]) == (6, "source_auth_failed")
    assert kept(cli).blob().same_as(before)
    assert events(cli)[-1] == "source_login_failed"
    # nor did a slip at the prompt stop the account that works
    cli.must("source", "test", "vaultwarden")


def test_logging_in_again_keeps_the_device(cli, fake):
    login(cli, fake).must()
    first = kept(cli).device_id
    login(cli, fake).must()
    assert kept(cli).device_id == first
    login(cli, fake, "--server", "https://other.example").must()
    assert kept(cli).device_id != first


def test_default_makes_it_the_source_of_new_tenants(cli, fake):
    login(cli, fake, "--default").must()
    cli.register("acme")
    row = cli.must("show-tenant", "acme", "--json").json["tenant"]
    assert (row["source"], row["collection_id"]) == ("vaultwarden", fake_bw.ACME)
    cli.must("provision", "acme")
    delivered = cli.jail_root("acme") / "home/app/.env"
    assert f"API_KEY={fake_bw.VALUE}\n".encode() in delivered.read_bytes()
    explicit = Cli(cli.home, {"COLIBRI_DEFAULT_SOURCE": "embedded"})
    asked = ("register-tenant", "beta", "--create-jail", "--tier", "scratch")
    assert explicit.run(*asked).error["code"] == "collection_not_found"


def test_an_environment_file_of_the_older_kind_is_taken_once(cli, fake):
    older = cli.home / "provider.env"
    older.write_text(
        f"BW_SERVER={fake_bw.SERVER}/\nBW_CLIENTID=user.{fake_bw.USER}\n"
        f"BW_CLIENTSECRET='{fake_bw.CLIENT_SECRET}'\nBW_PASSWORD=\"{fake_bw.PASSWORD}\"\nOTHER=1\n"
    )
    argv = ("source", "login", "vaultwarden", "--organization", "Acme", "--bw", str(fake.program),
            "--import", str(older))  # fmt: skip
    older.chmod(0o644)
    refused = quiet(cli.run(*argv))
    assert (refused.status, refused.error["code"]) == (5, "credential_unsafe")
    older.chmod(0o600)
    quiet(cli.run(*argv)).must()
    assert kept(cli).password.reveal() == fake_bw.PASSWORD
    assert kept(cli).server == fake_bw.SERVER
    older.write_text("BW_SERVER=https://x.example\n")
    assert "BW_PASSWORD" in quiet(cli.run(*argv)).error["message"]


@pytest.mark.parametrize(
    "argv",
    [
        ("source", "login", "vaultwarden", "--server", "https://x.example"),
        ("source", "login", "vaultwarden", "--server", "http://x.example", "--organization", "A"),
        ("source", "test", "embedded"),
        ("source", "show", "nowhere"),
        ("secret", "list", "acme", "--source", "vaultwarden"),
    ],
)
def test_wrong_usage(cli, fake, argv):
    cli.settings["COLIBRI_BW_PATH"] = str(fake.program)
    result = cli.run(*argv)
    assert result.status == 2
    assert result.error["hint"]


def test_a_ca_file_is_kept_and_must_be_one(cli, fake, tmp_path):
    authority = cli.home / "ca.pem"
    for text, why in (("x", "certificate"), ("-----BEGIN PRIVATE KEY-----\n", "private key")):
        authority.write_text(text)
        assert why in login(cli, fake, "--ca-file", str(authority)).error["message"]
    with Double(cli.home) as double:
        login(cli, fake, "--ca-file", str(double.ca_file)).must()
        assert kept(cli).ca == double.ca_file.read_text()


def test_a_changed_helper_is_not_run_until_logged_in_again(cli, fake):
    login(cli, fake).must()
    with fake.program.open("a") as program:
        program.write("# changed\n")
    result = cli.run("source", "test", "vaultwarden")
    assert (result.status, result.error["code"]) == (4, "helper_untrusted")
    login(cli, fake).must()
    cli.must("source", "test", "vaultwarden")


def test_a_new_helper_is_recorded_for_the_stored_account_and_nothing_is_asked(cli, fake):
    with Double(cli.home) as double:
        login(cli, fake, "--ca-file", str(double.ca_file)).must()
    before = kept(cli)
    newer = FakeBw(cli.home / "newer")
    argv = ("source", "login", "vaultwarden", "--stored", "--bw", str(newer.program))
    quiet(cli.run(*argv)).must()
    after = kept(cli)
    assert after.helper.bw == str(newer.program)
    assert after.password.same_as(before.password)
    assert (after.ca, after.device_id, after.server) == (before.ca, before.device_id, before.server)
    newer.will("login", "fail")
    assert quiet(cli.run(*argv)).status == 6
    assert kept(cli).blob().same_as(after.blob())
    assert cli.run(*argv, "--server", "https://elsewhere.example").status == 2
    assert cli.run("source", "logout", "vaultwarden").status == 0
    assert cli.run(*argv).error["code"] == "credential_missing"


def test_no_other_helper_gets_the_stored_account_unasked(cli, fake):
    login(cli, fake).must()
    before = kept(cli)
    fake.program.rename(fake.program.with_name("elsewhere"))
    argv = ("source", "login", "vaultwarden", "--stored")
    assert cli.run(*argv).error["code"] == "helper_missing"
    assert kept(cli).blob().same_as(before.blob())


def test_a_setting_that_names_another_helper_is_said(cli, fake):
    login(cli, fake).must()
    cli.settings["COLIBRI_BW_PATH"] = "/usr/bin/bw"
    assert cli.run("source", "test", "vaultwarden").error["code"] == "helper_untrusted"


def test_an_older_account_that_is_damaged_is_missing(cli, fake):
    login(cli, fake).must()
    UriCredentials().put(f"file:{cli.state}/credentials/vaultwarden", SecretValue("{"))
    assert cli.run("source", "show", "vaultwarden").error["code"] == "credential_missing"


def test_at_a_terminal_nothing_is_echoed(cli, fake):
    ours, theirs = pty.openpty()
    argv = [str(INSTALLED), "source", "login", "vaultwarden", "--server", fake_bw.SERVER,
            "--organization", "Acme", "--bw", str(fake.program)]  # fmt: skip
    with subprocess.Popen(
        argv, stdin=theirs, stdout=theirs, stderr=theirs, env=cli.environment, cwd=cli.home,
        start_new_session=True,
    ) as process:  # fmt: skip
        os.close(theirs)
        said = b""
        for line, prompt in zip(
            LINES.split(b"\n"), (b"client id", b"secret", b"password"), strict=True
        ):
            said += _until(ours, prompt + b": ")
            time.sleep(0.05)
            os.write(ours, line + b"\n")
        said += _until(ours, b"stored in")
        process.wait(timeout=60)
    os.close(ours)
    assert process.returncode == 0
    assert not [secret for secret in SECRETS if secret.encode() in said]
    assert fake_bw.USER.encode() in said  # from the table, once it was proven


def _until(terminal: int, wanted: bytes) -> bytes:
    said = b""
    give_up = time.monotonic() + 60
    while wanted not in said:
        assert time.monotonic() < give_up, said
        said += os.read(terminal, 4096)
    return said


# The real one


def doctor(cli: Cli, *, status: int) -> dict[str, dict]:
    looked = cli.run("source", "doctor", "vaultwarden", "--json")
    assert looked.status == status
    return {check["name"]: check for check in looked.json["items"]}


@pytest.mark.parametrize("version", [bw.OLDER])
def test_the_whole_story_with_the_real_bw(cli, double, version):
    installed = bw.installed(version)
    acme, idle = double.add_collection("acme"), double.add_collection("idle")
    double.add_login(acme, "API_KEY", "value-from-the-server")
    lines = f"{double.client_id}\n{double.client_secret}\n{double.password}".encode()
    argv = ("source", "login", "vaultwarden", "--server", double.url, "--organization",
            double.organization.id, "--bw", str(installed.script), "--node", str(installed.node),
            "--ca-file", str(double.ca_file), "--default")  # fmt: skip
    cli.process(*argv, stdin=lines).must()
    cli.process("register-tenant", "acme", "--create-jail", "--tier", "scratch").must()
    cli.process("provision", "acme").must()
    assert b"API_KEY=value-from-the-server\n" in (cli.jail_root("acme") / ".env").read_bytes()
    double.grant(acme, Access.WRITE)
    double.grant(idle, Access.HIDDEN)
    said = doctor(cli, status=6)
    assert "acme" in said["rights"]["seen"]
    assert (said["rights"]["state"], said["passwords"]["state"]) == ("warn", "fail")
    assert "idle" in said["collections without a tenant"]["seen"]
    assert said["server"]["state"] == said["bw"]["state"] == said["role"]["state"] == "ok"
    assert said["memberships"]["state"] == "ok"
    double.add_organization("Another")
    double.set_role(Role.OWNER, double.organization.id)
    double.remove_collection(acme)
    said = doctor(cli, status=6)
    assert (said["role"]["state"], said["role"]["seen"].split(":")[0]) == ("warn", "owner")
    assert said["memberships"]["state"] == "warn"
    assert "acme" in said["tenants without a collection"]["seen"]
    double.close()
    said = doctor(cli, status=6)
    assert {said["server"]["code"], said["organisation"]["code"]} == {"source_unreachable"}


@pytest.mark.parametrize("wrong", ["unknown", "host", "expired"])
def test_doctor_says_what_is_wrong_with_tls(cli, double, wrong):
    place.store_login(cli, bw.installed(), double)
    double.show_certificate(wrong)
    said = doctor(cli, status=6)
    assert said["server"]["code"] == said["organisation"]["code"] == "server_mismatch"
