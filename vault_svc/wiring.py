"""Builds the services from the settings; the only file that names adapters.

Everything is built when first asked for, so that a command pays only for what it uses.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vault_svc.config import Settings
from vault_svc.errors import ColibriError, not_initialised

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from vault_svc.adapters.memory import HostMemory
    from vault_svc.adapters.registry.lazy import LazyRegistry
    from vault_svc.adapters.sources.embedded import EmbeddedSource
    from vault_svc.adapters.sources.vault.admin import VaultAdmin
    from vault_svc.adapters.sources.vault.source import VaultSource
    from vault_svc.adapters.sources.vaultwarden.admin import VaultwardenAdmin
    from vault_svc.adapters.sources.vaultwarden.source import VaultwardenSource
    from vault_svc.domain.plan import Outcome
    from vault_svc.domain.secret import SecretValue
    from vault_svc.domain.tenant import Tenant
    from vault_svc.ports.audit_log import AuditLog
    from vault_svc.ports.credential_store import CredentialStore, HostKeys
    from vault_svc.ports.delivery import Delivery
    from vault_svc.ports.hook_door import HookDoor
    from vault_svc.ports.host_files import HostFiles
    from vault_svc.ports.jail_engine import JailEngine
    from vault_svc.ports.lease_source import LeaseSource
    from vault_svc.ports.registry import TenantReader
    from vault_svc.ports.secret_source import Resolve, SecretSource, SecretWriter
    from vault_svc.ports.source_admin import SourceAdmin, SourcePolicies
    from vault_svc.ports.spawning import SpawnRecords
    from vault_svc.services.audit import Auditing
    from vault_svc.services.batch import Options
    from vault_svc.services.context import Context
    from vault_svc.services.doctor import Doctor
    from vault_svc.services.hook import Hook
    from vault_svc.services.hook_install import HookInstaller
    from vault_svc.services.jails import Jails
    from vault_svc.services.keys import Keys
    from vault_svc.services.leases import Leases
    from vault_svc.services.provision import Provisioner
    from vault_svc.services.removal import Remover
    from vault_svc.services.renewal import Renewer
    from vault_svc.services.secrets import Secrets
    from vault_svc.services.sources import Sources
    from vault_svc.services.spawn import Spawner
    from vault_svc.services.tenants import Tenants
    from vault_svc.services.verify import Verifier

ENGINES = ("directory", "bubblewrap", "podman", "nspawn", "bastille")
SOURCES = ("embedded", "vault", "vaultwarden")
WRITABLE_SOURCES = ("embedded", "vault")
OPERATED_SOURCES = ("vault",)
SERVER_SOURCES = ("vault", "vaultwarden")
_OF_A_DELIVERY = (
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


class Services:
    """The use cases over the configured adapters."""

    def __init__(self, settings: Settings) -> None:
        """Take the settings; open nothing yet. Raises `usage` for defaults that are not there."""
        self.settings = settings
        if settings.default_engine not in ENGINES and settings.default_engine not in self._own:
            raise _unknown("jail engine (setting default_engine)", settings.default_engine, ENGINES)
        if settings.default_source not in SOURCES:
            raise _unknown("source (setting default_source)", settings.default_source, SOURCES)
        if settings.known_way:
            from vault_svc.hazmat.hidden_owners import vouch

            vouch(settings.known_way)
        self._built_engines: dict[str, JailEngine] = {}
        self._closing = ExitStack()

    def close(self) -> None:
        """Log out where a run logged in, and give the registry's connections back."""
        self._closing.close()

    def initialise(self) -> tuple[str, ...]:
        """Make the state directory, its keys and the registry; return what was made."""
        from vault_svc.adapters.state import make_state

        settings = self.settings
        made = make_state(settings.daemon_data_dir, settings.tree_bases)
        if self._registry.initialise():
            made = (*made, "registry")
        return (*made, *self.keys.initialise())

    @cached_property
    def tenants(self) -> Tenants:
        """Register, update."""
        from vault_svc.services.tenants import Tenants

        return Tenants(self._context, self._spawns)

    @cached_property
    def provisioner(self) -> Provisioner:
        """Provision."""
        from vault_svc.services.provision import Provisioner

        return Provisioner(self._context, self._apart)

    def _apart(
        self, parts: Sequence[Sequence[Tenant]], options: Options, resolve: Resolve
    ) -> Iterator[Outcome]:
        """Deliver to each part in a process with connections of its own."""
        from vault_svc.hazmat.forked import spread
        from vault_svc.services.provision import Provisioner

        def deliver(part: Sequence[Tenant]) -> Iterator[Sequence[Outcome]]:
            services = Services(self.settings)
            try:
                yield from Provisioner(services._context, resolve=resolve).part(part, options)
            finally:
                services.close()

        # SQLite knows its locks by process: nothing of it may be open when one is made of us.
        self._registry.dispose()
        outcomes = spread(parts, deliver)
        self._closing.callback(outcomes.close)  # before the registry's, which came first
        for batch in outcomes:
            yield from batch

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
        self, kind: str, request: bytes, serve: Callable[[Sequence[bytes]], Sequence[bytes]]
    ) -> bytes:
        """Return request's answer, from us or from another process that serves its kind now."""
        from vault_svc.adapters.queue import FileQueue

        queue = FileQueue(self.settings.inside("hooks"), at_once=self.settings.batch_size)
        return queue.ask(kind, request, serve)

    def spawner(self, tell: Callable[[str], None]) -> Spawner:
        """Run agents in jails."""
        from vault_svc.hazmat.attach import signals_held
        from vault_svc.services.spawn import Spawner

        self._require_state()
        return Spawner(self._context, self._spawns, signals_held, tell)

    @cached_property
    def _spawns(self) -> SpawnRecords:
        from vault_svc.adapters.spawns import FileSpawnRecords

        return FileSpawnRecords(
            self.settings.inside("spawns"), lock_timeout_seconds=self.settings.lock_timeout_seconds
        )

    def local(self, argv: Sequence[str]) -> int:
        """Run a command here, in no jail, as the default owner; return its exit status."""
        from vault_svc.adapters.jails.owners import who_runs
        from vault_svc.domain.receipt import Owner
        from vault_svc.hazmat.attach import attached, signals_held

        owner = Owner(self.settings.default_owner_uid, self.settings.default_owner_gid)
        with signals_held():
            return attached(argv, user=who_runs(owner))

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

    def in_time(self, act: Callable[[], bytes]) -> bytes | None:
        """Return what act returns in a child of ours, None if that died; raise TimeoutError."""
        from vault_svc.hazmat.deadline import bounded

        return bounded(act, self.settings.hook_timeout_seconds)

    @cached_property
    def verifier(self) -> Verifier:
        """Verify."""
        from vault_svc.services.verify import Verifier

        return Verifier(self._context)

    @cached_property
    def remover(self) -> Remover:
        """Suspend, revoke, offboard, resume."""
        from vault_svc.services.removal import Remover

        return Remover(self._context)

    @cached_property
    def leases(self) -> Leases:
        """Map variables to leased paths."""
        from vault_svc.services.leases import Leases

        return Leases(self._context)

    @cached_property
    def renewer(self) -> Renewer:
        """Renew, replace or take out what is leased."""
        from vault_svc.services.renewal import Renewer

        return Renewer(self._context)

    @cached_property
    def secrets(self) -> Secrets:
        """Set, list, unset, import."""
        from vault_svc.services.secrets import Secrets

        return Secrets(self._context, self._writer, OPERATED_SOURCES)

    @cached_property
    def sources(self) -> Sources:
        """Log in to servers, test, show, log out."""
        from vault_svc.adapters.state import record_default_source
        from vault_svc.services.sources import Sources

        data_dir = self.settings.daemon_data_dir
        return Sources(
            self._context,
            self._credentials,
            self._admin,
            self._policed,
            lambda source: record_default_source(data_dir, source),
        )

    @cached_property
    def jails(self) -> Jails:
        """Create, list, destroy."""
        from vault_svc.services.jails import Jails

        self._require_state()
        return Jails(self._context, self._engines, self._spawns)

    @cached_property
    def keys(self) -> Keys:
        """Make and rotate keys."""
        from vault_svc.adapters.credentials.hostkeys import fresh_host_key
        from vault_svc.services.keys import Keys

        makers = {
            self.settings.host_key: fresh_host_key,
            self.settings.embedded_identity: self._embedded.first_identity,
        }
        return Keys(self._context, self._credentials, makers, self._embedded)

    @cached_property
    def doctor(self) -> Doctor:
        """Look at this host."""
        from vault_svc.services.doctor import Doctor

        return Doctor(
            self._context,
            self._engines,
            lambda: f"by {self._walk}",
            lambda: (self._second_layer, self._no_second_layer),
            self._unproven(),
        )

    def _unproven(self) -> list[str]:
        """Name what is in use here and has not run against the real thing (decision 27)."""
        parts = [] if sys.platform == "linux" else [f"system {sys.platform}"]
        return parts + (["registry PostgreSQL"] * self.settings.db_url.startswith("postgresql"))

    @cached_property
    def auditing(self) -> Auditing:
        """Put a broken audit log aside."""
        from vault_svc.services.audit import Auditing

        return Auditing(self._context)

    @property
    def reader(self) -> TenantReader:
        """Rows and records, for commands that only look."""
        return self._registry

    @property
    def audit(self) -> AuditLog:
        """The audit log, for commands that only look."""
        self._require_state()
        return self._audit

    def private_file(self, path: str) -> SecretValue:
        """Return what a private file holds; raise `credential_missing` or `credential_unsafe`."""
        return self._credentials.get(f"file:{path}")

    def _require_state(self) -> None:
        """Raise `usage` where there is nothing to look at, rather than show an empty list."""
        if not Path(self.settings.inside("audit")).is_dir():
            raise not_initialised(self.settings.daemon_data_dir)

    def isolates(self, engine: str) -> bool:
        """Say whether an engine keeps its tenants from the host's files."""
        return self._engine(engine).capabilities.isolates

    @cached_property
    def _context(self) -> Context:
        from vault_svc.adapters.clock import SystemClock
        from vault_svc.adapters.locks import FileLocks
        from vault_svc.adapters.registry.lease_book import RegistryLeases
        from vault_svc.adapters.reload import ReloadProgram
        from vault_svc.adapters.sources.sealed_tokens import SealedFileTokens
        from vault_svc.services.context import Context

        return Context(
            settings=self.settings,
            registry=self._registry,
            audit=self._audit,
            delivery=self._delivery,
            locks=FileLocks(
                self.settings.inside("provision.lock"),
                timeout_seconds=self.settings.lock_timeout_seconds,
            ),
            keys=self._host_keys,
            clock=SystemClock(),
            source=self._source,
            engine=self._engine,
            leases=RegistryLeases(self._registry),
            lease_tokens=SealedFileTokens(lambda: self._embedded.store),
            lease_source=lambda: self._lease_source,
            reloader=ReloadProgram(
                self.settings.reload_command, self.settings.reload_timeout_seconds
            ),
            memory=self._memory,
        )

    @cached_property
    def _registry(self) -> LazyRegistry:
        from vault_svc.adapters.registry.lazy import LazyRegistry

        registry = LazyRegistry(
            self.settings.db_url,
            self.settings.db_path,
            busy_timeout_seconds=self.settings.db_busy_timeout_seconds,
            receipts_kept=self.settings.receipts_kept,
        )
        # Closing checkpoints: at a set place of the run, not when the collector comes by.
        self._closing.callback(registry.dispose)
        return registry

    @cached_property
    def _audit(self) -> AuditLog:
        from vault_svc.adapters.audit.jsonl import JsonlAudit
        from vault_svc.adapters.clock import SystemClock

        return JsonlAudit(
            self.settings.inside("audit"),
            self._host_keys,
            SystemClock(),
            self._registry.audit_head,
            segment_bytes=self.settings.audit_segment_bytes,
            segments_kept=self.settings.audit_segments_kept,
            reserve_bytes=self.settings.audit_reserve_bytes,
            lock_timeout_seconds=self.settings.lock_timeout_seconds,
        )

    @cached_property
    def _credentials(self) -> CredentialStore:
        from vault_svc.adapters.credentials.store import UriCredentials

        return UriCredentials()

    @cached_property
    def _host_keys(self) -> HostKeys:
        from vault_svc.adapters.credentials.hostkeys import StoredHostKeys

        return StoredHostKeys(self._credentials, self.settings.host_key)

    @cached_property
    def _delivery(self) -> Delivery:
        from vault_svc.adapters.delivery import ConfinedDelivery

        made = ConfinedDelivery(
            self.settings.jail_root_base,
            state_dir=self.settings.daemon_data_dir,
            walk=self.settings.walk,
            allow_walk_fallback=self.settings.allow_walk_fallback,
            create_parents=self.settings.create_parents,
            second_layer=self.settings.second_layer,
            memory_base=self.settings.memory_base,
        )
        self._walk = made.walk
        self._second_layer, self._no_second_layer = made.second_layer, made.no_second_layer
        return made

    @cached_property
    def _memory(self) -> HostMemory:
        from vault_svc.adapters.memory import HostMemory

        return HostMemory(self.settings.memory_base, self.settings.memory_bytes)

    def _shown_memory(self, jail: str) -> str:
        """Return what an engine is to mount for a jail: its row's memory, "" for none."""
        from vault_svc.domain import delivered

        row = self._registry.by_jail(self.settings.host, jail)
        root = delivered.memory_of(row) if row else ""
        return self._memory.shown(root or self._memory.path(jail))

    @cached_property
    def _embedded(self) -> EmbeddedSource:
        from vault_svc.adapters.clock import SystemClock
        from vault_svc.adapters.sources.embedded import EmbeddedSource, Limits

        return EmbeddedSource(
            self.settings.inside("store"),
            self._credentials,
            self.settings.embedded_identity,
            SystemClock(),
            limits=Limits(
                self.settings.max_value_bytes,
                self.settings.max_secrets_per_collection,
                self.settings.max_collection_bytes,
            ),
            allowed_variables=self.settings.allowed_variables,
            lock_timeout_seconds=self.settings.lock_timeout_seconds,
        )

    @cached_property
    def _lease_source(self) -> LeaseSource:
        from vault_svc.adapters.sources.vault.leases import VaultLeases

        return VaultLeases(self._vault.stored, self._vault.sessions, self._closing)

    @cached_property
    def _vaultwarden(self) -> VaultwardenAdmin:
        import time

        from vault_svc.adapters.clock import SystemClock
        from vault_svc.adapters.sources.vaultwarden.admin import VaultwardenAdmin
        from vault_svc.adapters.sources.vaultwarden.breaker import Breaker
        from vault_svc.adapters.sources.vaultwarden.options import Options
        from vault_svc.adapters.sources.vaultwarden.session import TRANSPORTS, Sessions

        settings, clock = self.settings, SystemClock()
        if settings.bw_transport not in TRANSPORTS:
            raise _unknown("transport of bw", settings.bw_transport, tuple(TRANSPORTS))
        options = Options(
            data_dir=settings.daemon_data_dir,
            runtime_dir=settings.bw_runtime_dir,
            transport=settings.bw_transport,
            bw_path=settings.bw_path,
            node_path=settings.node_path,
            untested_version=settings.bw_untested_version,
            timeout_seconds=settings.bw_timeout_seconds,
            lock_timeout_seconds=settings.bw_lock_timeout_seconds,
            max_output_bytes=settings.bw_max_output_bytes,
            max_memory_bytes=settings.bw_max_memory_bytes,
            max_appdata_bytes=settings.bw_max_appdata_bytes,
            backoff_seconds=settings.bw_backoff_seconds,
            backoff_limit_seconds=settings.bw_backoff_limit_seconds,
        )
        return VaultwardenAdmin(
            self._credentials,
            settings.vaultwarden_credential,
            options,
            Sessions(options, clock, _import_what_writes),
            Breaker(options, clock, time.sleep),
        )

    @cached_property
    def _vaultwarden_source(self) -> VaultwardenSource:
        from vault_svc.adapters.sources.vaultwarden.options import Rules
        from vault_svc.adapters.sources.vaultwarden.source import VaultwardenSource

        settings, admin = self.settings, self._vaultwarden
        rules = Rules(
            settings.allowed_variables,
            settings.ignored_items,
            settings.shared_items,
            settings.max_value_bytes,
            settings.max_secrets_per_collection,
            settings.max_collection_bytes,
        )
        return VaultwardenSource(admin.stored, admin.sessions, admin.breaker, rules)

    @cached_property
    def _vault(self) -> VaultAdmin:
        from vault_svc.adapters.clock import SystemClock
        from vault_svc.adapters.sources.circuit import Circuit
        from vault_svc.adapters.sources.vault.admin import VaultAdmin
        from vault_svc.adapters.sources.vault.options import Options
        from vault_svc.adapters.sources.vault.session import CIRCUIT_FILE, MEND, Sessions

        settings = self.settings
        options = Options(
            proxy=settings.vault_proxy,
            timeout_seconds=settings.vault_timeout_seconds,
            max_answer_bytes=settings.vault_max_answer_bytes,
            concurrency=settings.vault_concurrency,
            backoff_seconds=settings.vault_backoff_milliseconds / 1000,
            patience_seconds=settings.vault_patience_seconds,
        )
        circuit = Circuit(settings.daemon_data_dir, CIRCUIT_FILE, MEND, SystemClock())
        sessions = Sessions(options, self._credentials, circuit)
        return VaultAdmin(self._credentials, settings.vault_credential, sessions)

    @cached_property
    def _vault_source(self) -> VaultSource:
        from vault_svc.adapters.sources.vault.options import Rules
        from vault_svc.adapters.sources.vault.source import VaultSource

        settings, admin = self.settings, self._vault
        rules = Rules(
            settings.allowed_variables,
            settings.max_value_bytes,
            settings.max_secrets_per_collection,
            settings.max_collection_bytes,
        )
        return VaultSource(admin.stored, admin.sessions, rules)

    def _source(self, name: str) -> SecretSource:
        if name not in SOURCES:
            raise _unknown("source", name, SOURCES)
        if name == "vault":
            return self._vault_source
        return self._vaultwarden_source if name == "vaultwarden" else self._embedded

    def _writer(self, name: str, operator: SecretValue | None) -> SecretWriter:
        if name not in WRITABLE_SOURCES:
            raise _unknown("source that can be written here", name, WRITABLE_SOURCES)
        if name != "vault":
            return self._embedded
        from vault_svc.adapters.sources.vault.writer import VaultWriter

        if operator is None:
            raise ColibriError("usage", "this source is written by an operator's token")
        return VaultWriter(lambda: self._vault.client(operator), self._vault_source.rules)

    def _admin(self, name: str) -> SourceAdmin:
        if name not in SERVER_SOURCES:
            raise _unknown("source with a server", name, SERVER_SOURCES)
        return self._vault if name == "vault" else self._vaultwarden

    def _policed(self, name: str) -> SourcePolicies:
        if name != "vault":
            raise _unknown("source with policies", name, ("vault",))
        return self._vault

    @cached_property
    def _own(self) -> Mapping[str, EntryPoint]:
        """The operator's own engines: looked for only where another name than ours is meant."""
        from vault_svc.adapters.jails import plugins

        return plugins.found(ENGINES)

    def _engine(self, name: str) -> JailEngine:
        if name not in ENGINES and name not in self._own:
            raise _unknown("jail engine", name, (*ENGINES, *self._own))
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


def _import_what_writes() -> None:
    """Import the registry's writing side at a time that costs nobody any waiting."""
    import vault_svc.adapters.registry.sqlite_store  # noqa: F401


def _unknown(what: str, name: str, known: Sequence[str]) -> ColibriError:
    return ColibriError("usage", f"there is no {what} '{name[:40]}'", hint=", ".join(known))
