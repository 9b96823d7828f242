"""Mutations of engines and of what a running jail proves, each rule broken once."""

from __future__ import annotations

from tests.mutation.runner import Mutation

PODMAN = "tests/unit/test_podman.py::"
BASTILLE = "tests/unit/test_bastille.py::"
IDS = "tests/unit/test_ids.py::"
INSIDE = "tests/attack/test_containers.py::"
JAILS = "vault_svc/adapters/jails/"
SILENT = "tests/cli/test_silent_engines.py::"

CONTAINERS = (
    Mutation(
        "beginning of an id taken for a name",
        JAILS + "podman.py",
        'if isinstance(each, dict) and each.get("Name") == name]',
        "if isinstance(each, dict)]",
        (PODMAN + "test_beginning_of_an_id_is_no_name_although_podman_takes_it",),
        "podman would answer about another container",
    ),
    Mutation(
        "kernel's root not compared",
        JAILS + "bastille.py",
        "        if real != configured:\n",
        "        if False:\n",
        (BASTILLE + "test_kernel_and_configuration_that_disagree_are_refused",),
        "a jail.conf that was edited would lead elsewhere",
        root=True,
    ),
    Mutation(
        "beginning of a name destroyed",
        JAILS + "bastille.py",
        "        if longer:\n",
        "        if False:\n",
        (BASTILLE + "test_a_jail_whose_name_begins_another_is_not_given_to_bastille_to_destroy",),
        "a jail that vanished would take its neighbour with it",
        root=True,
    ),
    Mutation(
        "unmapped owner let through",
        "vault_svc/domain/ids.py",
        "        if uid is None or gid is None:\n",
        "        if False:\n",
        (IDS + "test_owner_without_a_number_is_refused",),
        "the file would be given to somebody else",
    ),
    Mutation(
        "first process not compared",
        "vault_svc/hazmat/jail_view.py",
        "        if _identity(self.root.fd) != _identity(root.fd):\n",
        "        if False:\n",
        (INSIDE + "test_pid_of_another_jail_is_refused_and_nothing_is_written",),
        "a number that was used again would vouch for any directory",
        root=True,
    ),
    Mutation(
        "mounts of the tenant's not looked for",
        "vault_svc/adapters/delivery.py",
        "                if view is not None:\n                    self._sees_parent(",
        "                if False:\n                    self._sees_parent(",
        (INSIDE + "test_mount_over_the_directory_is_shadowed_and_nothing_is_written",),
        "a file would lie where the jail never sees it",
        root=True,
    ),
    Mutation(
        "a silent engine's jail is overlooked",
        "vault_svc/services/jails.py",
        "            if silent not in {info.engine for info in same}:\n",
        "            if False:\n",
        (SILENT + "test_beside_a_silent_engine_a_jail_goes_by_its_own_engines_name",),
        "the wrong one of two jails would be destroyed",
    ),
)
