"""`make bench`: figures beside their baselines, measured in the same run.

`python -m tests.bench [fleet|vaultwarden|vault|hook] [TENANTS]`; all of them without a name.
"""

from __future__ import annotations

import sys

from tests.bench import fleet, startup


def _fleet(tenants: int) -> None:
    with fleet.Fleet(tenants) as made:
        startup.report(made.environ)
        fleet.report(made)


def _vaultwarden(tenants: int) -> None:
    from tests.bench import vaultwarden

    vaultwarden.report(tenants)


def _vault(tenants: int) -> None:
    from tests.bench import vault

    vault.report(tenants)


def _hook(jails: int) -> None:
    from tests.bench import hook

    hook.report(jails)


BENCHES = {
    "fleet": (_fleet, 10_000),
    "vaultwarden": (_vaultwarden, 1_000),
    "vault": (_vault, 1_000),
    "hook": (_hook, 100),
}


def main() -> None:
    words = sys.argv[1:]
    names = [word for word in words if word in BENCHES] or list(BENCHES)
    numbers = [int(word) for word in words if word.isdigit()]
    for name in names:
        bench, usual = BENCHES[name]
        bench(numbers[0] if numbers else usual)


main()
