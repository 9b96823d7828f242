"""Print what python-dotenv reads from argv[1] as JSON; argv[2] is the uid to become, or -1."""

import codecs
import json
import os
import sys

import dotenv

# Everything is imported: the interpreter's own files need not be open to the throwaway user.
codecs.lookup("unicode-escape")
if (uid := int(sys.argv[2])) >= 0:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
sys.stdout.write(json.dumps(dotenv.dotenv_values(sys.argv[1], encoding="utf-8")))
