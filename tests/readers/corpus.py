"""Values that fit a profile: seeded, punctuation overweighted, and never naming a command.

Letters are few and capital: no run of them is a command, a builtin or a keyword of any shell.
Values that would act if they were executed create a file in the reader's empty directory by
redirection alone (`>CANARY`), which needs no command either.
"""

from __future__ import annotations

import random

from vault_svc.domain import dotenv

VALUES = 400
_LETTERS = "QXZJ019"
_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
_BARE = "%+,./:@_-="
_FOREIGN = "é\u00a0\u3000\u0085\u2028\ufeff\U0001f600ÿ"
_CONTROL = "".join(map(chr, [*range(1, 32), 127]))
_PEM = "\n".join(["-----BEGIN Q KEY-----", *["QX/+ZJ01" * 8] * 12, "QX==", "-----END Q KEY-----"])

_PIECES = (
    "\\n", "\\t", "\\r", "\\x51", "\\u0051", "\\0", "\\$", '\\"', "\\'", "\\\\", "$Q", "${Q}",
    "$$", "$(", "${", "%n", "%%", "''", '""', "'\\''", " #", "# ", "\\\n", "\r\n", "\n\n", "=",
)  # fmt: skip

FIXED = (
    "", "0", "QX=ZJ==", "postgres://Q:X%40Z@J/Q", "https://Q/X?Z=J&Q=1#X", "$2b$12$QXZ/J.01",
    "$argon2id$v=19$m=65536,t=3,p=4$QX$ZJ", '{"Q": "X", "Z": [1, null]}', "Q X", " Q", "Q ", "\tQ",
    "Q\t", " ", "\t", "#Q", "Q#X", "Q #X", "'Q'", '"Q"', "'", '"', "`", "\\", "\\\\", "Q\\", "Q'X",
    'Q"X', "Q'X\"Z", "Q'$X`\\", "~", "~/Q", "Q:~/X", "=Q", "==", "Q=X", "Q:=X", ":=", "!Q", "!!",
    "*", "?", "[Q]", "{Q,X}", "-Q", "--", "$Q", "${Q}", "${Q:-X}", "$$", "$", "%Q", "Q;X", "Q&X",
    "Q|X", "(Q)", "<Q", "on", "off", "null", "encrypted:QX", "$(>CANARY)", "`>CANARY`", ";>CANARY",
    "Q;>CANARY;", "&>CANARY", "Q >CANARY", "<(>CANARY)", "${Q:-$(>CANARY)}", "$((Q[$(>CANARY)]))",
    "'$(>CANARY)'", '"$(>CANARY)"', "'`>CANARY`'", '";>CANARY;"', "';>CANARY;'", "Q\n>CANARY",
    "\n", "Q\n", "\nQ", "Q\nX=Z", "Q\n#X", "Q\\\nX", "Q\r", "\rQ", "Q\rX", "Q\r\nX", _PEM,
    _PEM + "\n", "naïve", "\u00a0Q\u00a0", "\u3000", "\u0085", "Q\u2028X", "\ufeffQ", "\U0001f600",
    "\x01", "\x1b[31m", "\x7f", "\x0b\x0c",
)  # fmt: skip

LONGEST = {"universal": 32_768, "docker-raw": 64_000}
LONGEST_ELSEWHERE = 130_900


def values(profile: str) -> list[str]:
    """Return every fixed value that fits, one of the greatest size, and random ones to VALUES."""
    rng = random.Random(f"colibri {profile}")
    fits = dotenv.PROFILES[profile].broken
    chosen = [value for value in FIXED if fits("KEY", value) is None]
    chosen.append("Q" * LONGEST.get(profile, LONGEST_ELSEWHERE))
    while len(chosen) < VALUES:
        value = _random(rng, profile)
        if fits("KEY", value) is None:
            chosen.append(value)
    return chosen


def _random(rng: random.Random, profile: str) -> str:
    if profile == "universal":
        alphabet, pieces = _LETTERS + _BARE * 2, ("Q",)
    elif profile == "dotenv":
        alphabet, pieces = _LETTERS + _PUNCTUATION * 2 + " \t", _PIECES
    else:
        alphabet, pieces = _LETTERS + _PUNCTUATION * 3 + _FOREIGN + _CONTROL + " \t\n", _PIECES
    return "".join(
        rng.choice(pieces) if rng.random() < 0.1 else rng.choice(alphabet)
        for _ in range(rng.randint(1, 40))
    )


def variables(profile: str) -> dict[str, str]:
    """Return the corpus by name, with a sentinel before the first and after each value."""
    found = {"A_SENTINEL": "z9"}
    for number, value in enumerate(values(profile)):
        found[f"V{number:04}"] = value
        found[f"V{number:04}_SENTINEL"] = f"z{number}"
    return found
