"""A unified kernel image with a TPM: what systemd measures behind the firmware's log does not break its replay."""

from __future__ import annotations

from pathlib import Path

import pytest

from lisa_ci.model import Firmware, Outcome, Profile
from tests.doubles.security_machine import security_machine
from tests.doubles.unified_image import unified_image

pytestmark = pytest.mark.field

MEASURED = Profile(name="measured", firmware=Firmware.UEFI, memory_mib=1024, tpm=True)


def test_the_phases_of_a_start_are_explained_and_what_is_none_of_them_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with security_machine(tmp_path, MEASURED, unified_image(tmp_path)) as machine:
        assert "Finished systemd-pcrphase.service" in machine.sh("journalctl --boot --output cat")
        assert machine.not_passed("measured-boot") == {}
        machine.sh(f"tpm2_pcrextend 11:sha256={'ab' * 32} -T device:/dev/tpmrm0")
        assert machine.not_passed("measured-boot") == {"sha256": Outcome.FAILED}
