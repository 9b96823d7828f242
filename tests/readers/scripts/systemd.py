"""Print what systemd reads from argv[1] for EnvironmentFile= as JSON; argv[2]: uid or -1.

The service manager calls load_env_file and then drops assignments it holds invalid; both are
called here, in the library PID 1 is linked with (argv[3]).
"""

import ctypes
import json
import os
import sys

shared, libc = ctypes.CDLL(sys.argv[3]), ctypes.CDLL(None)
if (uid := int(sys.argv[2])) >= 0:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)

path = os.fsencode(sys.argv[1])
libc.fopen.restype = ctypes.c_void_p
stream = ctypes.c_void_p(libc.fopen(path, b"re"))
strv = ctypes.POINTER(ctypes.c_char_p)()
status = shared.load_env_file(stream, path, ctypes.byref(strv))
if status < 0:
    sys.exit(f"load_env_file: {status}")
shared.strv_env_clean_with_callback.restype = ctypes.POINTER(ctypes.c_char_p)
clean = shared.strv_env_clean_with_callback(strv, None, None)
found = {}
at = 0
while clean and clean[at] is not None:
    name, _, value = clean[at].partition(b"=")
    found[name.decode()] = value.decode("utf-8", "surrogateescape")
    at += 1
sys.stdout.write(json.dumps(found))
