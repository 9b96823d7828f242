"""Jail engines by name: ours, and the operator's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from vault_svc.settings import Settings
from vault_svc.wiring.ground import Ground
from vault_svc.wiring.names import ENGINES, unknown

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from vault_svc.ports.jail_engine import JailEngine


class WithEngines(Ground):
    """The engines over the settings."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings; raise `usage` for a default engine that is not there."""
        super().__init__(settings)
        if settings.default_engine not in ENGINES and settings.default_engine not in self._own:
            raise unknown("jail engine (setting default_engine)", settings.default_engine, ENGINES)
        self._built_engines: dict[str, JailEngine] = {}

    @cached_property
    def _own(self) -> Mapping[str, EntryPoint]:
        """The operator's own engines: looked for only where another name than ours is meant."""
        from vault_svc.adapters.jails import plugins

        return plugins.found(ENGINES)

    def _engine(self, name: str) -> JailEngine:
        if name not in ENGINES and name not in self._own:
            raise unknown("jail engine", name, (*ENGINES, *self._own))
        if name not in self._built_engines:
            self._built_engines[name] = self._build_engine(name)
        return self._built_engines[name]

    def _build_engine(self, name: str) -> JailEngine:
        settings = self.settings
        if name not in ENGINES:
            from vault_svc.adapters.jails import plugins

            return plugins.load(self._own[name], settings.tree_bases)
        if name == "podman":
            from vault_svc.adapters.jails.podman import Options, PodmanEngine

            return PodmanEngine(
                Options(
                    settings.podman_image,
                    settings.podman_containers_conf,
                    settings.podman_storage_conf,
                    settings.engine_timeout_seconds,
                ),
                path=settings.engine_path,
                memory=self._shown_memory,
            )
        path = settings.engine_path
        if name == "bastille":
            from vault_svc.adapters.jails import bastille

            options = bastille.Options(
                settings.bastille_jails_dir,
                settings.bastille_release,
                settings.bastille_kind,
                settings.bastille_address,
                settings.bastille_interface,
                settings.engine_timeout_seconds,
            )
            return bastille.BastilleEngine(options, path=path)
        if name == "nspawn":
            from vault_svc.adapters.jails import nspawn

            given = nspawn.Options(settings.nspawn_template, settings.engine_timeout_seconds)
            return nspawn.NspawnEngine(given, path=path, memory=self._shown_memory)
        if name == "bubblewrap":
            from vault_svc.adapters.jails.bubblewrap import BubblewrapEngine

            return BubblewrapEngine(settings.tree_bases, programs=path, memory=self._shown_memory)
        from vault_svc.adapters.jails.directory import DirectoryEngine

        return DirectoryEngine(settings.tree_bases)

    def _engines(self) -> Sequence[JailEngine]:
        return [self._engine(name) for name in (*ENGINES, *self._own)]
