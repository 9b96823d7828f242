"""A double of Vault and OpenBao, and the operator's hand at either the double or a real one."""

from tests.kit.vault.double import Double
from tests.kit.vault.world import World

__all__ = ["Double", "World"]
