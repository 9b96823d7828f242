"""Where the installed `colibri` begins: an engine's hook by the short way, all else by Typer's."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Final

from cli import hooking, lean, output
from cli.asked import Asked
from cli.invocation import Session
from vault_svc.errors import ColibriError

_INTERRUPTED: Final = 130


def main() -> None:
    """Run the command line; every error becomes one line and its exit status."""
    call = lean.hook(sys.argv[1:])
    if call is None:
        from cli.app import main as by_typer

        by_typer()
        return
    gc.disable()  # a hook's life is short: a tenth of it went into looking for garbage
    config, asked = call
    output.open_streams()
    status = ended(lambda: _answer(Session(config), asked), as_json=asked.as_json)
    output.close_streams()
    sys.exit(status)


def _answer(session: Session, asked: Asked) -> None:
    try:
        hooking.answer(session.services, asked)
    finally:
        session.close()


def ended(act: Callable[[], None], *, as_json: bool) -> int:
    """Do it; return its exit status, and say what went wrong."""
    try:
        act()
    except ColibriError as error:
        failed = error
    except KeyboardInterrupt:
        failed = _interrupted()
    except Exception as error:  # noqa: BLE001 - the last net: no traceback may show a value
        from vault_svc import faults

        failed = faults.internal(error)
    else:
        return 0
    output.failure(failed, as_json=as_json)
    return _INTERRUPTED if failed.code == "interrupted" else failed.status


def _interrupted() -> ColibriError:
    return ColibriError(
        "interrupted", "stopped by the operator", hint="run it again, it goes on where it stopped"
    )
