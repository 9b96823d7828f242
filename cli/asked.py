"""One call of the hook, as its command line says it; plain classes, since a jail waits for it."""

from __future__ import annotations

from enum import StrEnum


class OnFailure(StrEnum):
    """What becomes of a jail whose delivery failed."""

    REFUSE = "refuse"
    CONTINUE = "continue"


class Asked:
    """A form of the hook and its words; oci takes jail and root from stdin."""

    def __init__(
        self,
        form: str,
        jail: str = "",
        root: str | None = None,
        on_failure: OnFailure = OnFailure.REFUSE,
        *,
        as_json: bool = False,
    ) -> None:
        self.form = form
        self.jail = jail
        self.root = root
        self.on_failure = on_failure
        self.as_json = as_json
