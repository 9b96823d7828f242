"""A Bitwarden-compatible server with real cryptography, and one way to fill it or a real one.

`Double(home)` is a `World`; `tests.live.vaultwarden` has the same over a real Vaultwarden.
"""

from tests.kit.vaultwarden.crypto import ARGON2ID, PBKDF2, Kdf
from tests.kit.vaultwarden.double import Double
from tests.kit.vaultwarden.faults import Cut, Edit, Redirect, Reset, Slow, Status, Truncated
from tests.kit.vaultwarden.items import Field
from tests.kit.vaultwarden.world import Access, Role, World

__all__ = [
    "ARGON2ID",
    "PBKDF2",
    "Access",
    "Cut",
    "Double",
    "Edit",
    "Field",
    "Kdf",
    "Redirect",
    "Reset",
    "Role",
    "Slow",
    "Status",
    "Truncated",
    "World",
]
