"""The agent in the jail: reads its file and says what it sees.

Part of the proof, not of the product; run by inside.py as the jail's user, imports nothing of
colibri. Prints JSON: error (a strerror, or empty), content (base64), mode, uid, gid, links.
"""

from __future__ import annotations

import base64
import encodings.idna  # noqa: F401 - codecs are loaded late, and there is no library in a jail
import json
import os
import stat
import sys

_MOST = 1 << 24


def main(arguments: list[str], root: str, how: str) -> int:
    """Read PATH, which is relative to the jail's root."""
    (name,) = arguments
    seen: dict[str, object] = {"how": how, "error": ""}
    try:
        fd = os.open(os.path.join(root, name), os.O_RDONLY | os.O_NONBLOCK)  # noqa: PTH118
    except OSError as error:
        seen["error"] = os.strerror(error.errno or 0)
    else:
        status = os.fstat(fd)
        seen["content"] = base64.b64encode(_read(fd)).decode("ascii")
        seen["mode"] = f"{stat.S_IMODE(status.st_mode):04o}"
        seen["uid"], seen["gid"], seen["links"] = status.st_uid, status.st_gid, status.st_nlink
    json.dump(seen, sys.stdout)
    return 0


def _read(fd: int) -> bytes:
    parts = []
    while part := os.read(fd, _MOST):
        parts.append(part)
    return b"".join(parts)
