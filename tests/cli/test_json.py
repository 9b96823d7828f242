"""Every command's --json against the shipped schemas, by the installed command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main
from jsonschema import Draft202012Validator

from cli.app import app
from tests.kit import schemas
from tests.kit.cli import Cli, Result
from tests.kit.places import private_directory
from vault_svc.errors import CODES

pytestmark = pytest.mark.xdist_group("json")

VALUE = b"sk-live-0123456789"
SCRATCH = "--create-jail --tier scratch --env-path /home/app/.env"

# schema, command line, exit status; told in order, in one state directory.
STORY = [
    ("init", "init", 0),
    ("init", "init", 0),
    ("secret-set", "secret set acme API_KEY", 0),
    ("secret-import", "secret import acme -", 0),
    ("secret-unset", "secret unset acme FROM_FILE", 0),
    ("secret-list", "secret list acme", 0),
    ("secret-set", "secret set beta API_KEY", 0),
    ("secret-set", "secret set gamma API_KEY", 0),
    ("register-tenant", f"register-tenant acme {SCRATCH}", 0),
    ("register-tenant", f"register-tenant beta {SCRATCH} --profile shell", 0),
    ("register-tenant", f"register-tenant bare --no-collection {SCRATCH}", 0),
    ("register-tenant", f"register-tenant gamma {SCRATCH} --env-path /nowhere/.env", 0),
    ("verify", "verify acme", 0),
    ("provision", "provision acme --dry-run", 0),
    ("provision", "provision acme", 0),
    ("provision", "provision acme", 0),
    ("hook-run", "hook run --jail acme --root {home}/state/jails/acme/root", 0),
    ("error", "hook run --jail nobody --root {home}/state/jails/nobody/root", 3),
    (
        "hook-run",
        "hook run --jail acme --root {home}/state/jails --on-provision-failure continue",
        0,
    ),
    ("hook-run", "hook nspawn nobody", 0),
    ("hook-run", "hook bastille nobody", 0),
    ("hook-run", "hook oci", 0),
    ("hook-file", "hook show podman", 0),
    ("hook-file", "hook install podman --directory {home}/hooks.d", 0),
    ("hook-file", "hook uninstall podman --directory {home}/hooks.d", 0),
    ("provision-all", "provision --all", 9),
    ("verify", "verify --all", 0),
    ("error", "provision bare", 3),
    ("show-tenant", "show-tenant acme", 0),
    ("list-tenants", "list-tenants", 0),
    ("list-tenants", "list-tenants --limit 2", 0),
    ("update-tenant", "update-tenant beta --profile dotenv", 0),
    ("lease-add", "lease add bare DB_USER=database/creds/app#username --param a=b", 0),
    ("lease-list", "lease list", 0),
    ("renew", "renew", 0),
    ("lease-remove", "lease remove bare DB_USER", 0),
    ("key-rotate-host", "key rotate host", 0),
    ("key-rotate-identity", "key rotate identity", 0),
    ("suspend", "suspend acme", 0),
    ("show-tenant", "show-tenant acme", 0),
    ("resume", "resume acme", 0),
    ("revoke", "revoke acme", 0),
    ("error", "provision acme", 5),
    ("offboard", "offboard acme", 0),
    ("jail-create", "jail create spare", 0),
    ("jail-list", "jail list", 0),
    ("jail-start", "jail start spare", 0),
    ("jail-run", "jail run spare /bin/echo heard", 0),
    ("jail-stop", "jail stop spare", 0),
    ("jail-destroy", "jail destroy spare", 0),
    ("audit-tail", "audit tail", 0),
    ("audit-verify", "audit verify", 0),
    ("doctor", "doctor", 0),
    ("error", "audit renew", 2),
    ("audit-verify", "audit verify", 10),
    ("audit-renew", "audit renew", 0),
    ("error", "source show vaultwarden", 6),
    ("error", "show-tenant nobody", 7),
    ("error", "show-tenant", 2),
    ("error", "no-such-command", 2),
]
NAMELESS = b'{"ociVersion": "1.0.2", "status": "created", "pid": 2, "bundle": "/b"}'
STDIN = {"hook oci": NAMELESS, "secret set": VALUE, "secret import": b"FROM_FILE=" + VALUE + b"\n"}
# Commands with tests of their own that validate the document: the proof, and what needs a server.
TOLD_ELSEWHERE = {
    "first-proof": "first-proof",
    "source login vaultwarden": "source-login",
    "source login vault": "source-login",
    "source test": "source-test",
    "source show": "source-show",
    "source logout": "source-logout",
    "source doctor": "source-doctor",
    "source policies": "source-policies",
}
# The words on their stdout are the agent's own, or there are none.
PASSED_ON = {"spawn-agent", "spawn-local", "hook serve"}


@pytest.fixture(scope="module")
def told() -> Iterator[list[Result]]:
    with private_directory() as home:
        cli = Cli(home)
        yield [_tell(cli, *each) for each in STORY]


def _tell(cli: Cli, schema: str, line: str, status: int) -> Result:
    if (schema, status) == ("audit-verify", 10):
        log = cli.state / "audit" / "audit.jsonl"
        log.write_bytes(log.read_bytes().replace(b"jail_created", b"jail_deleted", 1))
    line = line.format(home=cli.home)
    return cli.process(*line.split(), "--json", stdin=STDIN.get(" ".join(line.split()[:2]), b""))


@pytest.mark.parametrize(
    "at", range(len(STORY)), ids=[f"{n:02d}-{line}" for n, (_, line, _) in enumerate(STORY)]
)
def test_output_is_one_document_of_its_schema(told: list[Result], at: int) -> None:
    schema, _, status = STORY[at]
    result = told[at]
    assert result.status == status, result.stderr
    document = result.json  # fails for two documents, or for words around one
    assert document["schema"] == f"colibri.{schema}/1"
    assert schemas.complaints(document) == []
    assert VALUE not in result.stdout
    assert result.stdout.endswith(b"}\n")


def test_validator_sees_every_step_away_from_every_document(told: list[Result]) -> None:
    seen = 0
    for result in told:
        for how, spoiled in schemas.spoiled(result.json):
            assert schemas.complaints(spoiled), f"{result.argv}: {how} was not noticed"
            seen += 1
    assert seen > 1000


def test_story_tells_every_command_and_every_schema() -> None:
    lines = [line for _, line, _ in STORY]
    for name in _commands(typer.main.get_command(app)):
        assert name in {*TOLD_ELSEWHERE, *PASSED_ON} or any(
            f"{line} ".startswith(f"{name} ") for line in lines
        ), f"{name} --json is not validated"
    named = {f"colibri.{schema}/1" for schema, _, _ in STORY}
    elsewhere = {f"colibri.{schema}/1" for schema in TOLD_ELSEWHERE.values()}
    left = schemas.schemas().keys() - named - elsewhere
    assert left == {"colibri.common/1"}


def _commands(command: Any, prefix: str = "") -> Iterator[str]:
    for name, each in command.commands.items():
        if hasattr(each, "commands"):
            yield from _commands(each, f"{prefix}{name} ")
        else:
            yield prefix + name


def test_schemas_are_schemas_and_strict() -> None:
    for title, schema in schemas.schemas().items():
        Draft202012Validator.check_schema(schema)
        if title != "colibri.common/1":
            assert schema["additionalProperties"] is False
            assert set(schema["required"]) == set(schema["properties"])


def test_schema_knows_exactly_the_error_codes_there_are() -> None:
    common = schemas.schemas()["colibri.common/1"]
    assert set(common["$defs"]["error"]["properties"]["code"]["enum"]) == CODES.keys()


def test_pages_of_a_list_hold_each_tenant_once(cli: Cli) -> None:
    ids = [f"t{number}" for number in range(7)]
    for tenant in ids:
        cli.register(tenant, "--no-collection")
    for limit in (1, 3, 7, 8):
        seen, after, pages = [], "", 0
        while after is not None:
            page = cli.must("list-tenants", "--json", "--limit", str(limit), "--after", after).json
            assert len(page["items"]) <= limit
            seen += [row["tenant_id"] for row in page["items"]]
            after, pages = page["next"], pages + 1
        assert seen == ids
        assert pages == -(-len(ids) // limit)


def test_failure_leaves_the_same_words_for_people_and_programs(cli: Cli) -> None:
    result = cli.run("provision", "nobody", "--json")
    error = result.json["error"]
    assert {key: error[key] for key in ("code", "message", "hint")} == dict(result.error)


def test_fault_in_colibri_itself_is_a_document_too(cli: Cli, monkeypatch: Any) -> None:
    def fault(*_: object, **__: object) -> None:
        raise ZeroDivisionError("the value sk-live-0123456789 was in my hands")

    monkeypatch.setattr("vault_svc.wiring.Services.initialise", fault)
    result = cli.run("init", "--json")
    assert result.status == 1
    assert schemas.complaints(result.json) == []
    assert result.json["error"]["code"] == "internal"
    assert "sk-live" not in result.stderr + json.dumps(result.json)
