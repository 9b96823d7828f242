"""Print what pydantic-settings reads from argv[1] as JSON; argv[2]: uid or -1, argv[3:]: fields."""

import codecs
import json
import os
import sys
from pathlib import Path

import pydantic_settings
from dotenv import dotenv_values  # noqa: F401 - its lazy import must happen before the drop
from pydantic import create_model

# Everything is imported: the interpreter's own files need not be open to the throwaway user.
codecs.lookup("unicode-escape")
if (uid := int(sys.argv[2])) >= 0:
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
names = Path(sys.argv[3]).read_text(encoding="utf-8").split()


class Base(pydantic_settings.BaseSettings):
    model_config = pydantic_settings.SettingsConfigDict(
        env_file=sys.argv[1], env_file_encoding="utf-8", extra="allow", case_sensitive=True
    )


fields = dict.fromkeys(names, (str | None, None))
settings = create_model("Settings", __base__=Base, **fields)()
sys.stdout.write(json.dumps(settings.model_dump(exclude_unset=True)))
