"""The command `colibri`: one short function per command, one place for every error."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from cli import (
    cmd_audit,
    cmd_doctor,
    cmd_hook,
    cmd_hook_files,
    cmd_jail,
    cmd_key,
    cmd_lease,
    cmd_proof,
    cmd_provision,
    cmd_remove,
    cmd_secret,
    cmd_source,
    cmd_source_login,
    cmd_spawn,
    cmd_tenants,
    output,
    quick,
)
from cli.session import Session
from vault_svc import faults
from vault_svc.errors import CODES, ColibriError

app = typer.Typer(
    name="colibri",
    help="Gives each tenant's isolated AI agent its secrets, and nothing else's.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_SURPLUS: Final = "Got unexpected extra argument"
_UNKNOWN: Final = "No such command '"
_INTERRUPTED: Final = 130
_INSTEAD: Final = {
    "list": "colibri list-tenants",
    "show": "colibri show-tenant TENANT",
    "status": "colibri list-tenants, or colibri doctor",
    "register": "colibri register-tenant TENANT",
    "update": "colibri update-tenant TENANT",
    "deliver": "colibri provision TENANT",
    "repair": "colibri provision TENANT --repair",
    "secret get": "values are not shown: they are in the tenant's file",
    "secret show": "colibri secret list COLLECTION; values are not shown",
    "secret add": "colibri secret set COLLECTION NAME",
    "secret delete": "colibri secret unset COLLECTION NAME",
    "secret remove": "colibri secret unset COLLECTION NAME",
    "secret rm": "colibri secret unset COLLECTION NAME",
    "jail delete": "colibri jail destroy JAIL",
    "jail remove": "colibri jail destroy JAIL",
    "lease delete": "colibri lease remove TENANT VAR",
    "lease show": "colibri lease list TENANT",
    "audit list": "colibri audit tail",
    "audit show": "colibri audit tail",
}
"""Commands that people try, and those that there are."""


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"colibri {version('colibri')}")
        raise typer.Exit


@app.callback()
def main_options(
    context: typer.Context,
    config: Annotated[
        str | None, typer.Option("--config", metavar="FILE", help="Settings file.")
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say more, on stderr; never a value.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Read the options that come before every command."""
    del version
    context.obj = Session(config, verbose)
    context.call_on_close(context.obj.close)


for module in (cmd_tenants, cmd_provision, cmd_remove, cmd_lease, cmd_spawn, cmd_doctor, cmd_proof):
    module.register(app)
app.add_typer(cmd_secret.app, name="secret")
cmd_source_login.register(cmd_source.app)
app.add_typer(cmd_source.app, name="source")
app.add_typer(cmd_jail.app, name="jail")
cmd_hook_files.register(cmd_hook.app)
app.add_typer(cmd_hook.app, name="hook")
app.add_typer(cmd_key.app, name="key")
app.add_typer(cmd_audit.app, name="audit")


def main() -> None:
    """Run the command line; every error becomes one line and its exit status."""
    output.open_streams()
    ours = sys.argv[: sys.argv.index("--")] if "--" in sys.argv else sys.argv
    as_json = "--json" in ours
    verbose = bool({"-v", "--verbose"} & set(ours))
    try:
        command = quick.command(app, sys.argv[1:])
        status = command(prog_name="colibri", standalone_mode=False)
    except ColibriError as error:
        output.failure(error, as_json=as_json)
        status = error.status
    except typer.TyperException as error:
        status = _usage(error, as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        status = _INTERRUPTED
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - the last net: no traceback may show a value
        status = _internal(error, as_json=as_json, verbose=verbose)
    if status == _INTERRUPTED:  # typer, too, returns this for Ctrl-C
        sys.stderr.write("\n" if sys.stderr.isatty() else "")
        output.failure(_interrupted(), as_json=as_json)
    output.close_streams()
    sys.exit(status if isinstance(status, int) else 0)


def _in_echo(error: OSError) -> bool:
    """Say whether Typer could not print: help and version are its own to write."""
    return (faults.frames(error) or ["?"])[-1].endswith(" echo")


def _interrupted() -> ColibriError:
    return ColibriError(
        "interrupted", "stopped by the operator", hint="run it again, it goes on where it stopped"
    )


def _usage(error: typer.TyperException, *, as_json: bool) -> int:
    words = error.format_message()
    if words.startswith("Usage: ") and not as_json:  # a group without a command: its help
        sys.stderr.write(words + "\n")
        return CODES["usage"].status
    context = getattr(error, "ctx", None)
    hint = f"{context.command_path} --help" if context else "colibri --help"
    # A surplus argument is not repeated: it may be a secret typed in haste.
    if words.startswith(_SURPLUS):
        words = f"{_SURPLUS}; values never come as arguments"
    elif words.startswith("Usage: "):
        words = "no command was given"
    elif words.startswith(_UNKNOWN):
        words, hint = _unknown(words, hint)
    elif words.startswith("No such option: --json"):
        words, hint = "no --json here", _where_json_is(hint)
    words = words.replace(": Value error, ", ": ")  # a library's own, which says nothing
    wrapped = ColibriError("usage", " ".join(words.split()), hint=hint)
    output.failure(wrapped, as_json=as_json)
    return wrapped.status


def _where_json_is(hint: str) -> str:
    """Return where --json belongs; a command that runs a program has none."""
    if hint.startswith("colibri spawn-"):
        return "what it prints is the program's own"
    return "it comes after the command: colibri list-tenants --json"


def _unknown(words: str, hint: str) -> tuple[str, str]:
    """Return what to say of a command there is not, and what there is instead."""
    said, typed = words.partition(". Did you mean")[0], words.split("'")[1]
    group = hint.removeprefix("colibri").removesuffix("--help").strip()
    instead = _INSTEAD.get(f"{group} {typed}".strip())
    return (said, instead) if instead else (words, hint)


def _internal(error: BaseException, *, as_json: bool, verbose: bool) -> int:
    """Report a fault by type and place only: messages and locals could hold a value."""
    if isinstance(error, OSError) and _in_echo(error):
        wrapped: ColibriError = output.unwritable(error)
    else:
        wrapped = faults.internal(error)
    output.failure(wrapped, as_json=as_json)
    if verbose:
        for frame in faults.frames(error):
            output.say(f"  {frame}")
    return wrapped.status
