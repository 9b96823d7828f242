"""Secret values in a type that cannot show itself by accident."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NoReturn, SupportsIndex


class SecretValue:
    """A secret; only `reveal` gives it out, and a reviewer can search for that word."""

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        """Hold text."""
        self.__text = text

    def reveal(self) -> str:
        """Return the value, for the source that resolved it and the write that places it."""
        return self.__text

    def same_as(self, other: SecretValue) -> bool:
        """Compare in constant time."""
        mine, theirs = self.__text.encode(), other.reveal().encode()
        return hmac.compare_digest(mine, theirs)

    def __len__(self) -> int:
        return len(self.__text.encode())

    def __repr__(self) -> str:
        return "SecretValue(hidden)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("secrets are compared with same_as")

    __hash__ = None  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError("secrets are never pickled or copied")


@dataclass(frozen=True, slots=True, eq=False)
class SecretSet:
    """All variables of one collection at one revision of its source.

    left_out: what the source holds there that is no variable, in words, for those who ask.
    """

    collection_id: str
    revision: str
    values: Mapping[str, SecretValue] = field(repr=False)
    left_out: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        """Return the variable names, sorted."""
        return tuple(sorted(self.values))


@dataclass(frozen=True, slots=True)
class SecretInfo:
    """What may be shown of a secret: its name, length in bytes, and when it was set."""

    name: str
    length: int
    set_at: str


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A source's word that a collection is still at the revision that was delivered."""

    collection_id: str
    revision: str


@dataclass(frozen=True, slots=True)
class CollectionRef:
    """A collection as its source knows it.

    delivered: the revision whose bytes the jail is said to hold, "" for none; a source that can
    tell cheaply answers it with `Unchanged`, if is_held finds it there: a look that costs.
    """

    collection_id: str
    name: str
    delivered: str = field(default="", compare=False)
    is_held: Callable[[], bool] = field(default=lambda: True, compare=False, repr=False)
