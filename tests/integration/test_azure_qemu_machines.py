"""The double's real machines by themselves, on a disk that only says hello: what they are made of, and how they end."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lisa_ci.model import ImageFormat
from tests.doubles.azure.arm import DISK, NIC, VM, Stored
from tests.doubles.azure.entra import SUBSCRIPTION
from tests.doubles.azure.qemu_machines import QemuMachines, seed, vhd_size
from tests.doubles.azure.wire import request_of
from tests.doubles.azure.world import FakeClock, make_arm
from tests.doubles.boot_sector import SIZE, make_disk

ROOT = Path(__file__).parents[2]
HELLO = b"hello from the disk\r\n"
USER_DATA = '#cloud-config\n{"users": []}\n'
SECONDS = 60.0
OWNER = """\
import sys
from pathlib import Path
from tests.integration.test_azure_qemu_machines import machine, machines
hosts = machines(Path(sys.argv[1]))
hosts.start(machine(hosts), "127.0.9.2")
print(hosts.folder, flush=True)
sys.stdin.read()
"""


def resource(kind: str, name: str, **properties: object) -> Stored:
    place = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/g/providers/{kind}/{name}"
    return Stored(id=place, type=kind, body={"location": "westeurope", "properties": properties})


def machines(folder: Path) -> QemuMachines:
    made = QemuMachines(port=2222, fetch=lambda _, target: target.write_bytes((folder / "boot.vhd").read_bytes()))
    if not (folder / "boot.vhd").exists():
        make_disk(folder, kind=ImageFormat.VHD)
    source = resource(DISK, "source", hyperVGeneration="V1", creationData={"createOption": "Upload"})
    data = resource(DISK, "m0-data0", diskSizeGB=3)
    image = resource("Microsoft.Compute/images", "i", storageProfile={"osDisk": {"managedDisk": {"id": source.id}}})
    subnets = [{"name": f"s{number}", "properties": {"addressPrefix": f"10.77.{number}.0/24"}} for number in (0, 1)]
    net = resource("Microsoft.Network/virtualNetworks", "net", subnets=subnets)
    nics = [
        resource(
            NIC,
            f"m0-nic{number}",
            macAddress=f"00-0D-3A-01-00-0{number}",
            ipConfigurations=[{"properties": {"subnet": {"id": f"{net.id}/subnets/s{number}"}}}],
        )
        for number in (0, 1)
    ]
    made.resources = {one.id.lower(): one for one in (source, data, image, net, *nics)}
    return made


def machine(hosts: QemuMachines) -> Stored:
    ids = {one.name: one.id for one in hosts.resources.values()}
    return resource(
        VM,
        "m0",
        vmId="5fd0a5a2-6a3f-4d55-9e0e-3e7d3a2b1c0d",
        hardwareProfile={"vmSize": "Standard_D4s_v5"},
        storageProfile={
            "imageReference": {"id": ids["i"]},
            "osDisk": {"createOption": "FromImage"},
            "dataDisks": [{"lun": 5, "managedDisk": {"id": ids["m0-data0"]}}],
        },
        networkProfile={
            "networkInterfaces": [
                {"id": ids["m0-nic0"], "properties": {"primary": True}},
                {"id": ids["m0-nic1"], "properties": {"primary": False}},
            ]
        },
        osProfile={"computerName": "m0", "customData": base64.b64encode(USER_DATA.encode()).decode()},
        diagnosticsProfile={"bootDiagnostics": {"enabled": True}},
    )


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[QemuMachines]:
    with machines(tmp_path) as made:
        yield made
    assert not made.folder.exists()


def comes(true: Callable[[], object]) -> bool:
    deadline = time.monotonic() + SECONDS
    while not true() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(true())


def emulators(hosts_folder: Path | str) -> list[int]:
    """The QEMU processes that have a file in the folder, by number."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes()
        except OSError:
            continue  # it has ended meanwhile
        if words.startswith(b"qemu-system") and str(hosts_folder).encode() in words:
            found.append(int(path.parent.name))
    return found


def test_a_machine_boots_the_uploaded_disk_and_its_disks_outlive_a_stop(hosts: QemuMachines) -> None:
    made = machine(hosts)
    starter = threading.Thread(target=hosts.start, args=(made, "127.0.9.2"))
    starter.start()
    starter.join()  # a machine is not the thread's that asked for it
    assert comes(lambda: hosts.serial(made) == HELLO)
    [emulator] = emulators(hosts.folder)
    words = Path(f"/proc/{emulator}/cmdline").read_bytes().decode().split("\0")
    for number, door in ((0, ",hostfwd=tcp:127.0.9.2:2222-10.77.0.4:22"), (1, "")):
        net = (
            f"net=10.77.{number}.0/24,host=10.77.{number}.1,dns=10.77.{number}.3,dhcpstart=10.77.{number}.{4 + number}"
        )
        assert f"user,id=net{number},restrict=on,ipv6=off,{net}{door}" in words
    assert [re.search("mac=([^,]*)", word)[1] for word in words if "mac=" in word] == [  # type: ignore[index]
        "00:0D:3A:01:00:00",
        "00:0D:3A:01:00:01",
    ]
    assert (words[words.index("-smp") + 1], words[words.index("-m") + 1]) == ("2", "640")
    assert any("scsi-id=0,lun=5,drive=lun5" in word for word in words)

    hosts.stop(made)
    assert not emulators(hosts.folder)
    assert sorted(path.name for path in hosts.folder.glob("*/*.qcow2")) == ["data-5.qcow2", "os.qcow2"]
    told = subprocess.run(
        ["qemu-img", "info", "--output=json", *hosts.folder.glob("*/data-5.qcow2")], capture_output=True, check=True
    )
    assert json.loads(told.stdout)["virtual-size"] == 3 << 30

    hosts.start(made, "127.0.9.2")
    assert comes(lambda: hosts.serial(made) == HELLO * 2), "another start, the same log"


def test_a_machine_that_ends_by_itself_is_told_as_stopped(hosts: QemuMachines) -> None:
    made = machine(hosts)
    made.power = "running"
    hosts.start(made, "127.0.9.2")
    assert comes(lambda: emulators(hosts.folder))
    os.kill(emulators(hosts.folder)[0], signal.SIGTERM)
    assert comes(lambda: made.power == "stopped")
    assert list(hosts.folder.glob("*/os.qcow2")), "it can be started again"


def test_what_is_asked_of_azure_is_done_to_the_machine(hosts: QemuMachines) -> None:
    clock, made = FakeClock(), machine(hosts)
    arm = make_arm(now=clock.now, hosts=hosts, pace=1)
    group = {"id": made.id.partition("/providers/")[0], "name": "g", "location": "westeurope"}
    arm.groups["g"] = {**group, "properties": {"provisioningState": "Succeeded"}}
    arm.resources.update({**hosts.resources, made.id.lower(): made})
    made.properties["provisioningState"] = "Succeeded"

    def ask(method: str, action: str = "") -> list[int]:
        """The emulators that there are after it."""
        url = f"https://management.azure.com{made.id}{action}?api-version=2026-04-01"
        assert arm.serve(request_of(method, url, {}, b"")).status == 202
        clock.sleep(60)
        arm.settle()
        return emulators(hosts.folder) if method == "DELETE" or made.power != "running" else started(hosts)

    seen = [ask("POST", "/start"), ask("POST", "/restart"), ask("POST", "/redeploy")]
    assert ask("POST", "/powerOff") == []
    seen.append(ask("POST", "/start"))
    assert ask("POST", "/deallocate") == []
    seen.append(ask("POST", "/start"))
    assert [len(one) for one in seen] == [1] * 5
    assert len({one for [one] in seen}) == 5, "each is another process"
    assert ask("DELETE") == []
    assert hosts.running == {}


def started(hosts: QemuMachines) -> list[int]:
    assert comes(lambda: emulators(hosts.folder))
    return emulators(hosts.folder)


def test_without_boot_diagnostics_nobody_sees_the_console(hosts: QemuMachines) -> None:
    made = machine(hosts)
    hosts.start(made, "127.0.9.2")
    assert comes(lambda: hosts.serial(made))
    made.properties["diagnosticsProfile"] = {"bootDiagnostics": {"enabled": False}}
    assert hosts.serial(made) == b""


def test_an_image_of_generation_2_is_started_by_uefi(hosts: QemuMachines) -> None:
    source = next(one for one in hosts.resources.values() if one.name == "source")
    source.properties["hyperVGeneration"] = "V2"
    made = machine(hosts)
    hosts.start(made, "127.0.9.2")
    assert comes(lambda: b"BdsDxe" in hosts.serial(made)), (
        "the firmware says that it does not find how to start this disk"
    )
    assert HELLO not in hosts.serial(made)


def test_a_killed_test_leaves_no_machine_and_no_disk(tmp_path: Path) -> None:
    make_disk(tmp_path, kind=ImageFormat.VHD)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as owner:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().strip())
        assert comes(lambda: emulators(folder))
        owner.kill()
    assert comes(lambda: not emulators(folder))
    assert comes(lambda: not folder.exists())


def test_cloud_init_finds_the_custom_data_to_the_byte(hosts: QemuMachines) -> None:
    told = seed(machine(hosts))
    assert told["user-data"] == USER_DATA.encode()
    assert json.loads(told["meta-data"])["local-hostname"] == "m0"


@pytest.mark.parametrize("at", [0, 19, 54, 63, 67])
def test_what_is_no_fixed_vhd_to_the_letter_does_not_boot(tmp_path: Path, at: int) -> None:
    disk = make_disk(tmp_path, kind=ImageFormat.VHD)
    assert vhd_size(disk) == SIZE
    content = bytearray(disk.read_bytes())
    content[at - 512] ^= 1
    disk.write_bytes(content)
    with pytest.raises(AssertionError):
        vhd_size(disk)
