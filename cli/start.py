"""Where the installed `colibri` begins: an engine's hook by the short way, all else by Typer's."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from cli import lean, output
from vault_svc.errors import ColibriError

if TYPE_CHECKING:
    from cli.invocation import Session

_INTERRUPTED: Final = 130


def main() -> None:
    """Run the command line; every error becomes one line and its exit status."""
    asked = lean.hook(sys.argv[1:])
    if asked is None:
        from cli.app import main as by_typer

        by_typer()
        return
    output.open_streams()
    status = _status(*asked)
    output.close_streams()
    sys.exit(status)


def _status(session: Session, act: lean.Act) -> int:
    try:
        act(session.services)
    except ColibriError as error:
        failed = error
    except KeyboardInterrupt:
        failed = _interrupted()
    except Exception as error:  # noqa: BLE001 - the last net: no traceback may show a value
        from vault_svc import faults

        failed = faults.internal(error)
    else:
        return 0
    finally:
        session.close()
    output.failure(failed, as_json="--json" in sys.argv)
    return _INTERRUPTED if failed.code == "interrupted" else failed.status


def _interrupted() -> ColibriError:
    return ColibriError(
        "interrupted", "stopped by the operator", hint="run it again, it goes on where it stopped"
    )
