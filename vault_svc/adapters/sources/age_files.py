"""age files under an identity, by pyrage (https://age-encryption.org/v1); no format of our own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyrage
from pyrage import x25519

from vault_svc.domain.secret import SecretValue
from vault_svc.errors import ColibriError

_SECRET: Final = "AGE-SECRET-KEY-1"  # noqa: S105 - the public prefix of every identity
_NO_KEY: Final = "No matching keys found"


class WrongIdentityError(Exception):
    """The file is age's, but none of our identities opens it."""


class BrokenFileError(Exception):
    """The file is no whole age file."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Identities:
    """The identities of a store: the first seals, all open; never shown."""

    lines: tuple[SecretValue, ...]
    keys: tuple[x25519.Identity, ...]

    def seal(self, plaintext: bytes) -> bytes:
        """Return plaintext as a binary age file to the current identity."""
        return bytes(pyrage.encrypt(plaintext, [self.keys[0].to_public()]))

    def open(self, blob: bytes) -> bytes:
        """Return the plaintext; raise WrongIdentityError or BrokenFileError.

        Binary or armored. Only X25519 is tried: a passphrase file would cost its scrypt work.
        """
        try:
            return bytes(pyrage.decrypt(blob, list(self.keys)))
        except pyrage.DecryptError as error:
            # The library tells the two apart by its sentence only; a test holds it to that.
            if str(error) == _NO_KEY:
                raise WrongIdentityError from None
            raise BrokenFileError from None

    def with_new(self) -> Identities:
        """Return these with a new current identity before them."""
        fresh = x25519.Identity.generate()
        return Identities((SecretValue(str(fresh)), *self.lines), (fresh, *self.keys))

    def current_only(self) -> Identities:
        """Return the current identity alone."""
        return Identities(self.lines[:1], self.keys[:1])

    def text(self) -> SecretValue:
        """Return them as an age identity file, which `age -d -i` reads."""
        note = "# colibri embedded store; the first identity is the current one\n"
        recipient = f"# public key: {self.keys[0].to_public()}\n"
        return SecretValue(note + recipient + "".join(f"{i.reveal()}\n" for i in self.lines))


def fresh() -> Identities:
    """Return one new identity."""
    return Identities((), ()).with_new()


def parse(text: SecretValue, named: str) -> Identities:
    """Return the identities of an age identity file; raise `credential_missing` naming it."""
    lines = [line.strip() for line in text.reveal().splitlines()]
    wanted = [line for line in lines if line and not line.startswith("#")]
    try:
        keys = tuple(x25519.Identity.from_str(line) for line in wanted)
    except pyrage.IdentityError:
        keys = ()
    if not keys:
        raise ColibriError(
            "credential_missing",
            f"{named} holds no age identity that can be read",
            hint=f"one {_SECRET}… a line, comments with #; see the runbook age-identity-lost.md",
        )
    return Identities(tuple(SecretValue(line) for line in wanted), keys)
