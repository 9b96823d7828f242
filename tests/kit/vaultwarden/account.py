"""A person's or a service's account: what only its client knows, and what the server is told."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from tests.kit.vaultwarden import crypto


@dataclass
class Account:
    """An account before and after registration; user_key and keys never leave the client."""

    email: str
    password: str
    kdf: crypto.Kdf = crypto.PBKDF2
    name: str = "colibri service"
    user_key: bytes = field(default_factory=lambda: os.urandom(64), repr=False)
    keys: crypto.KeyPair = field(default_factory=crypto.KeyPair, repr=False)

    def __post_init__(self) -> None:
        self.public_key = self.keys.public()
        self.private_key = self.keys.wrapped(self.user_key)
        self.set_password(self.password)

    def set_password(self, password: str) -> None:
        """Derive what follows from the master password; the user key stays."""
        self.password = password
        master = self.kdf.master_key(password, self.email)
        self.password_hash = crypto.password_hash(master, password)
        self.akey = crypto.seal(self.user_key, crypto.stretched(master))
