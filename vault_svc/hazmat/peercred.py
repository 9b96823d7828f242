"""Who is at the other end of a local socket, as the kernel knows it.

Rule bent: a raw socket option. Why that is safe: the kernel filled it in when the connection was
made (unix(7), SO_PEERCRED); nothing the peer says is in it.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
from typing import Final

_CREDENTIALS: Final = struct.Struct("=iII")  # struct ucred: pid, uid, gid


def peer_uid(connection: socket.socket) -> int:
    """Return the effective uid of whoever connected; raise OSError."""
    if sys.platform == "linux":
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(raw)[1])
    uid, gid = ctypes.c_uint32(), ctypes.c_uint32()  # getpeereid(3)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.getpeereid(connection.fileno(), ctypes.byref(uid), ctypes.byref(gid)) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return uid.value
