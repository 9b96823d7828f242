"""Rules of secrets in memory, each broken once."""

from __future__ import annotations

from tests.mutation.runner import Mutation

SEEN = "tests/unit/test_jail_memory.py::"
MEMORY = "tests/spawn/test_memory.py::"
DOCTOR = "tests/spawn/test_memory_doctor.py::"
NOT_CALLED = "test_a_stopped_container_made_without_it_is_not_called_delivered"

MEMORY_ROWS = (
    Mutation(
        "memory that is none",
        "vault_svc/adapters/delivery.py",
        "            if root.mount and not memory_fs.is_memory(proven.fd):\n",
        "            if False:\n",
        (MEMORY + "test_what_is_no_memory_gets_nothing",),
        "the secret would stand on a disk",
        root=True,
    ),
    Mutation(
        "memory under another mount",
        "vault_svc/hazmat/jail_memory.py",
        "            return now if now.point == path else None\n",
        "            return next((m for m in mounts if m.point == path), None)\n",
        (SEEN + "test_what_is_mounted_there_is_what_a_process_would_reach",),
        "a jail that hides it would count as delivered",
    ),
    Mutation(
        "memory of the old jail",
        "vault_svc/services/tenants.py",
        "        tree = self._memory_of(row) or (row.jail_root, row.root_ino)\n",
        "        tree = None if self._memory_of(row) else (row.jail_root, row.root_ino)\n",
        (MEMORY + "test_a_tenant_that_moves_leaves_nothing_in_the_memory_of_its_old_jail",),
        "the secret would stay in a jail that is the tenant's no more",
        root=True,
    ),
    Mutation(
        "memory where the setting says now",
        "vault_svc/services/context.py",
        "        return delivered.memory_of(tenant) or self.memory.path(tenant.jail)\n",
        "        return self.memory.path(tenant.jail)\n",
        (MEMORY + "test_another_memory_base_does_not_lose_sight_of_what_stands_below_the_old_one",),
        "a revocation would call gone what the jail still reads",
        root=True,
    ),
    Mutation(
        "a stopped container's word is not asked for",
        "vault_svc/services/context.py",
        "        if root.pid is None and tenant.jail not in self.announced:\n",
        "        if False:\n",
        ("tests/hook/test_memory.py::" + NOT_CALLED,),
        "what the container will never see would count as delivered",
        root=True,
    ),
    Mutation(
        "doctor trusts the kernel with swap",
        "vault_svc/hazmat/memory_look.py",
        '"noswap" not in _options(fd))\n',
        "False)\n",
        (DOCTOR + "test_memory_that_swap_could_get_is_a_warning",),
        "secrets on a disk, and nobody told",
        root=True,
    ),
    Mutation(
        "doctor takes any mount for memory",
        "vault_svc/services/doctor_memory.py",
        '        if found.kind != "memory":\n',
        "        if False:\n",
        (DOCTOR + "test_another_kind_of_mount_is_no_memory",),
        "a disk where memory was promised",
        root=True,
    ),
)
