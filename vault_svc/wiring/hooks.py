"""What answers spawners, alone or for many at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Final, TypeVar

from vault_svc.wiring.context import WithContext

if TYPE_CHECKING:
    from vault_svc.ports.hook_door import HookDoor
    from vault_svc.ports.host_files import HostFiles
    from vault_svc.services.hook import Hook
    from vault_svc.services.hook_install import HookInstaller

_OF_A_DELIVERY: Final = (
    "vault_svc.services.provision",
    "vault_svc.services.hook",
    "vault_svc.adapters.delivery",
    "vault_svc.adapters.hostfiles",
    "vault_svc.adapters.locks",
    "vault_svc.adapters.memory",
    "vault_svc.adapters.reload",
    "vault_svc.adapters.audit.jsonl",
    "vault_svc.adapters.credentials.hostkeys",
    "vault_svc.adapters.credentials.store",
    "vault_svc.adapters.jails.directory",
    "vault_svc.adapters.registry.lease_book",
    "vault_svc.adapters.registry.sqlite_store",
    "vault_svc.adapters.sources.embedded",
    "vault_svc.adapters.sources.sealed_tokens",
)

P = TypeVar("P")


class WithHooks(WithContext):
    """The spawner hook over the context."""

    @cached_property
    def hook(self) -> Hook:
        """Answer a spawner."""
        from vault_svc.services.hook import Hook

        return Hook(lambda: self._context, self._registry, self.settings.host, self.operator_files)

    def hook_door(self, tell: Callable[[str], None]) -> HookDoor:
        """Where hooks call that do not deliver themselves."""
        from vault_svc.adapters.door import Door

        self._require_state()
        seconds = self.settings.hook_timeout_seconds
        return Door(self.settings.inside("hooks"), seconds=seconds, tell=tell)

    def warm(self) -> None:
        """Import what most deliveries need, so that a child finds it there."""
        from importlib import import_module

        for name in _OF_A_DELIVERY:
            import_module(name)

    def side_by_side(self, parts: Sequence[P], act: Callable[[P], Iterator[None]]) -> None:
        """Do act for each part in a process of its own; nothing of ours may be open."""
        from vault_svc.hazmat.forked import spread

        for _ in spread(parts, act):
            pass

    def together(
        self,
        kind: str,
        request: bytes,
        serve: Callable[[Sequence[bytes]], Iterator[tuple[int, bytes] | None]],
    ) -> bytes:
        """Return request's answer, from us or from another process that serves its kind now."""
        from vault_svc.adapters.queue import FileQueue

        queue = FileQueue(self.settings.inside("hooks"), at_once=self.settings.batch_size)
        return queue.ask(kind, request, serve)

    def in_time(self, act: Callable[[], bytes]) -> bytes | None:
        """Return what act returns in a child of ours, None if that died; raise TimeoutError."""
        from vault_svc.hazmat.deadline import bounded

        return bounded(act, self.settings.hook_timeout_seconds)

    @cached_property
    def hook_installer(self) -> HookInstaller:
        """Put the files in place by which engines call the hook."""
        from vault_svc.services.hook_install import HookInstaller

        self._require_state()
        return HookInstaller(self._context, self.operator_files)

    @cached_property
    def operator_files(self) -> HostFiles:
        """Files on a way that nobody but root and we can change."""
        from vault_svc.adapters.hostfiles import OperatorFiles

        return OperatorFiles()

    def known_way(self) -> list[str]:
        """Return the directories of root's above ours, for a hook that cannot see their owner."""
        from vault_svc.hazmat.hidden_owners import of_root

        return of_root([self.settings.daemon_data_dir, *self.settings.jail_root_base])
