"""What a tenant's row claims, proven before it is written: owner, collection, delivery, jail."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from vault_svc.domain import delivered, dotenv
from vault_svc.domain.receipt import Owner
from vault_svc.domain.secret import CollectionRef
from vault_svc.domain.tenant import Tenant
from vault_svc.errors import ColibriError
from vault_svc.ports.delivery import JailRoot
from vault_svc.services.context import Context


@dataclass(frozen=True, slots=True)
class Claims:
    """Proves claims one by one, as a new row makes them or a change of one."""

    context: Context

    def mounts(self, delivery: str, jail: str) -> tuple[str, ...]:
        """Return what a row says of a jail's memory that is made now."""
        if not delivered.in_memory(delivery):
            return ()
        return delivered.shown_at(self.context.memory.path(jail))

    def profile(self, name: str) -> str:
        """Return a profile's name; raise `usage` where there is none of it."""
        if name not in dotenv.PROFILES:
            raise choice("profile", name, dotenv.PROFILES)
        return name

    def owner(self, owner: Owner | None, engine: str) -> Owner:
        """Return the owner, the settings' by default; raise `owner_unmapped`."""
        settings = self.context.settings
        owner = owner or Owner(settings.default_owner_uid, settings.default_owner_gid)
        ours = (owner.uid, owner.gid) == (os.geteuid(), os.getegid())
        # Where the hook alone delivers, it does so as the jail's root: every id of the jail's goes.
        if (
            not ours
            and os.geteuid() != 0
            and not self.context.engine(engine).capabilities.hook_only
        ):
            raise ColibriError(
                "owner_unmapped",
                f"an ordinary user cannot give files to {owner.uid}:{owner.gid}",
                hint=f"run colibri as root, or use --owner {os.geteuid()}:{os.getegid()}",
            )
        return owner

    def collection(self, source: str, name: str, no_collection: bool) -> CollectionRef:
        """Return the source's collection of this name, none where there shall be none."""
        held_by = self.context.source(source)  # a row of an unknown one could never be mended
        return CollectionRef("", "") if no_collection else held_by.locate(name)

    def refuse_without_memory(self, engine: str, delivery: str) -> None:
        """Raise `usage` where the engine cannot show a jail its memory."""
        can = self.context.engine(engine).capabilities
        if delivered.in_memory(delivery) and not can.tmpfs:
            raise ColibriError(
                "usage",
                f"engine '{engine}' cannot show a jail memory of its own: {can.no_tmpfs}",
                hint="use --delivery file or files, or another engine",
            )

    def refuse_taken_collection(self, source: str, ref: CollectionRef, *, but: str = "") -> None:
        """Look before a jail is made, or a file taken out, for nothing.

        The registry's index is what really decides. but: the tenant that may have it.
        """
        row = self.context.registry.by_collection(source, ref.collection_id)
        if row and row.tenant_id != but:
            raise ColibriError(
                "collection_taken",
                f"collection '{ref.name}' belongs to tenant '{row.tenant_id}'",
                hint="each tenant has a collection of its own: choose one with --collection",
            )

    def prove(self, engine: str, jail: str, expected: str | None, tenant_id: str) -> JailRoot:
        """Return the proven root: the engine's answer, plain, allowed, nobody else's.

        Where roots are not stable the jail must be there, and its root stays open until it is
        delivered to (decision 7).
        """
        if not self.context.engine(engine).capabilities.stable_roots:
            self._refuse_unknown(engine, jail)
            return JailRoot("")
        root = self.context.engine(engine).root_of(jail)
        if expected is not None and expected != root:
            raise ColibriError(
                "jail_root_mismatch",
                f"engine '{engine}' says jail '{jail}' is at '{root}', not at '{expected}'",
                hint="leave --jail-root out, or name the jail that is there with --jail",
            )
        ino = self.context.delivery.prove_root(JailRoot(root))
        self.context.refuse_other_hosts_jail(JailRoot(root, ino))
        for other in self.context.registry.roots_around(self.context.settings.host, root):
            if other.tenant_id != tenant_id:
                raise ColibriError(
                    "jail_taken" if other.jail_root == root else "jail_nested",
                    f"the root '{root}' meets the jail of tenant '{other.tenant_id}'",
                    hint="give each tenant a jail of its own",
                )
        return JailRoot(root, ino)

    def _refuse_unknown(self, engine: str, jail: str) -> None:
        if not any(info.name == jail for info in self.context.engine(engine).list()):
            raise ColibriError(
                "jail_not_found",
                f"engine '{engine}' has no jail '{jail}'",
                hint="colibri jail list",
            )


def refuse_both(collection: str | None, *, no_collection: bool) -> None:
    """Raise `usage` where a collection and none are asked for at once."""
    if collection is not None and no_collection:
        raise ColibriError(
            "usage", "--collection and --no-collection contradict each other", hint="name one"
        )


def not_there_yet(hint: str) -> ColibriError:
    """Return the refusal of what an ephemeral jail cannot have yet."""
    return ColibriError("usage", "an ephemeral jail is not there yet", hint=hint)


def way_of_delivery(text: str) -> str:
    """Return a way of delivery; raise `usage` where there is none of it."""
    if text not in delivered.MODES:
        raise choice("way of delivery", text, delivered.MODES)
    return text


def choice(what: str, given: str, known: Iterable[str]) -> ColibriError:
    """Return the refusal of what is not among the known."""
    return ColibriError(
        "usage", f"there is no {what} '{given[:40]}'", hint="one of: " + ", ".join(known)
    )


def facts(row: Tenant) -> dict[str, object]:
    """Return what the audit log says of a row."""
    return {
        "jail": row.jail,
        "jail_root": row.jail_root,
        "engine": row.engine,
        "source": row.source,
        "collection_id": row.collection_id,
        "delivery": row.delivery,
        "env_path": row.env_path,
        "owner": f"{row.owner_uid}:{row.owner_gid}",
        "profile": row.profile,
        "tier": row.tier,
    }
