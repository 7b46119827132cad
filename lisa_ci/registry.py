"""Names that users may write, and the backends behind them: the only module that knows all backends.

A backend is loaded when its name is used, so that a heavy SDK costs nothing to those who do not use it. A new one is
a module that meets its Protocol, a line here, and a line in that Protocol's contract test.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any, Final, cast

from lisa_ci.errors import PipelineError
from lisa_ci.pipeline.known import Known
from lisa_ci.protocols import Driver, Platform, Scenario

PLATFORMS: Final = {
    "azure": "lisa_ci.platforms.azure.platform:AzurePlatform",
    "qemu": "lisa_ci.platforms.qemu:QemuPlatform",
    "ssh": "lisa_ci.platforms.ssh:SshPlatform",
}
DRIVERS: Final = {
    "gtest": "lisa_ci.drivers.gtest:GtestDriver",
    "junit": "lisa_ci.drivers.junit:JunitDriver",
    "kselftest": "lisa_ci.drivers.kselftest:KselftestDriver",
    "ktap": "lisa_ci.drivers.ktap:KtapDriver",
    "ltp": "lisa_ci.drivers.ltp:LtpDriver",
    "shell": "lisa_ci.drivers.shell:ShellDriver",
    "tap": "lisa_ci.drivers.tap:TapDriver",
}
SCENARIOS: Final = {
    "clock": "lisa_ci.scenarios.clock:ClockScenario",
    "confidential": "lisa_ci.scenarios.confidential:ConfidentialScenario",
    "hot-add": "lisa_ci.scenarios.hot_add:HotAddScenario",
    "hotplug": "lisa_ci.scenarios.hotplug:HotplugScenario",
    "iscsi": "lisa_ci.scenarios.iscsi:IscsiScenario",
    "kdump": "lisa_ci.scenarios.kdump:KdumpScenario",
    "kexec": "lisa_ci.scenarios.kexec:KexecScenario",
    "measured-boot": "lisa_ci.scenarios.measured_boot:MeasuredBootScenario",
    "network-pair": "lisa_ci.scenarios.pair_network:PairNetworkScenario",
    "rdma": "lisa_ci.scenarios.rdma:RdmaScenario",
    "reboot": "lisa_ci.scenarios.reboot:RebootScenario",
    "storage-hotplug": "lisa_ci.scenarios.storage_hotplug:StorageHotplugScenario",
}


def platform(name: str) -> Platform:
    return cast("Platform", _make("platform", PLATFORMS, name))


def driver(name: str) -> Driver:
    return cast("Driver", _make("driver", DRIVERS, name))


def scenario(name: str) -> Scenario:
    return cast("Scenario", _make("scenario", SCENARIOS, name))


def known() -> Known:
    """The names a pipeline or a suite may use."""
    return Known(platforms=frozenset(PLATFORMS), drivers=frozenset(DRIVERS), scenarios=frozenset(SCENARIOS))


def _make(kind: str, table: Mapping[str, str], name: str) -> Any:
    if name not in table:
        close = difflib.get_close_matches(name, table, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(sorted(table))}"
        raise PipelineError(f"unknown {kind} '{name}'", hint=hint)
    module, _, factory = table[name].partition(":")
    return getattr(importlib.import_module(module), factory)()
