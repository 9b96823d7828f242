"""A fault in colibri itself, told by type and place only: the rest could hold a value."""

from __future__ import annotations

from vault_svc.errors import ColibriError


def frames(error: BaseException) -> list[str]:
    """Return where the error passed through, outermost first."""
    found = []
    trace = error.__traceback__
    while trace:
        code = trace.tb_frame.f_code
        found.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return found


def internal(error: BaseException) -> ColibriError:
    """Return the error `internal` that stands for it, or `busy` where memory ran out."""
    if isinstance(error, MemoryError):
        return ColibriError("busy", "the system has no more memory", hint="run it again")
    where = (frames(error) or ["?"])[-1]
    return ColibriError(
        "internal", f"{type(error).__name__} at {where}", hint="please report it with --verbose"
    )
