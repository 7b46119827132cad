"""How many runs, from which seed. The defaults are the short run of CI; docs/reliability.md has the long ones."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

SHORT_MACHINE, SHORT_HOST = 40, 6  # runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """``runs`` and ``host_runs`` seeds, the first of which is ``seed``; ``jobs`` at a time; ``qemu`` real machines."""

    runs: int
    host_runs: int
    qemu: int
    seed: int
    jobs: int


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("chaos")
    group.addoption("--runs", type=int, default=SHORT_MACHINE, help="Runs with a fault in the machine or on the way.")
    group.addoption("--host-runs", type=int, default=SHORT_HOST, help="Runs of the program on a host that fails.")
    group.addoption("--qemu", type=int, default=0, help="Runs with a fault in a real QEMU machine.")
    group.addoption("--azure-runs", type=int, default=56, help="Runs of a leg on the double of Azure.")
    group.addoption("--seed", type=int, default=0, help="The first seed; a failure names its own.")
    group.addoption("--jobs", type=int, default=6, help="Runs at a time; most of a run is waiting.")


@pytest.fixture(scope="session")
def amount(pytestconfig: pytest.Config) -> Amount:
    # Options of this file are unknown where pytest was started for all the tests.
    return Amount(
        runs=pytestconfig.getoption("--runs", SHORT_MACHINE),
        host_runs=pytestconfig.getoption("--host-runs", SHORT_HOST),
        qemu=pytestconfig.getoption("--qemu", 0),
        seed=pytestconfig.getoption("--seed", 0),
        jobs=pytestconfig.getoption("--jobs", 6),
    )
