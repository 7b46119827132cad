"""Machines of the double that are real: QEMU boots the disk that was uploaded, with what the deployed bodies say.

cloud-init in the image reads the custom data (or the user data) to the byte, from a NoCloud seed: the double has none
of Azure's own services inside a machine (wire server, metadata). What a body asks for that is not here is refused.
"""

from __future__ import annotations

import base64
import json
import shutil
import struct
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Final, Self

from lisa_ci.model import Arch
from lisa_ci.platforms.qemu import way_in
from lisa_ci.platforms.qemu.architecture import board
from tests.doubles.azure.arm import DISK, Stored

# (cores, MiB) of a size as far as an emulated machine beside others may have them.
SHAPES: Final = {"Standard_D2s_v5": (2, 512), "Standard_D4s_v5": (2, 640)}
GENERATIONS: Final = {"V1": "", "V2": "/usr/share/OVMF/OVMF_CODE_4M.fd"}
VARIABLES: Final = "/usr/share/OVMF/OVMF_VARS_4M.fd"
_FOOTER: Final = 512
_END_SECONDS: Final = 20

# All of it ends with whoever started it, however that ends: then stdin ends as well.
# A machine may make its last file while the folder goes: once more, when it is dead.
_FOLDER_GUARD: Final = 'cat >/dev/null; rm -rf -- "$1" 2>/dev/null || { sleep 1; rm -rf -- "$1"; }'
_MACHINE_GUARD: Final = """\
exec 3<&0
setpriv --pdeathsig KILL -- "$@" </dev/null 3<&- &
qemu=$!
(read -r _ <&3; kill -KILL "$qemu") 2>/dev/null &
keeper=$!
exec 3<&-
wait "$qemu"
kill -KILL "$keeper"
"""


@dataclass
class Running:
    """A machine that is on. ``is_meant``: the double itself is ending it."""

    process: subprocess.Popen[bytes]
    watch: threading.Thread | None = None
    is_meant: bool = False


@dataclass
class QemuMachines:
    """Hosts for ``Arm``, whose ``resources`` it is given once they are there; ``fetch`` writes a disk's VHD to a file.

    Every machine's SSH is on ``port`` of an address of loopback. A machine's disks live as long as this, across
    deallocation; ``with`` ends all machines and removes their files.
    """

    port: int
    fetch: Callable[[Stored, Path], None]
    resources: Mapping[str, Stored] = field(default_factory=dict)
    network: int = 9
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="azure-machines-", dir="/var/tmp")))
    running: dict[str, Running] = field(default_factory=dict)

    def __post_init__(self) -> None:
        command = ("sh", "-c", _FOLDER_GUARD, "sh", str(self.folder))
        self._guard = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for machine in list(self.running.values()):
            self._end(machine)
        self.running.clear()
        self._guard.communicate(timeout=_END_SECONDS)

    # ---- Hosts -----------------------------------------------------------------------------------------------------

    def address(self, number: int) -> str:
        return f"127.0.{self.network}.{number % 250 + 2}"

    def start(self, machine: Stored, address: str) -> None:
        home = self.folder / str(machine.properties["vmId"])
        if not home.is_dir():
            self._make(machine, home)
        command = [*self._command(machine, home, address)]
        (home / "command.json").write_text(json.dumps(command))
        with (home / "qemu.log").open("ab") as log:
            process = subprocess.Popen(
                ("sh", "-c", _MACHINE_GUARD, "sh", *command),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a signal for the test's own group leaves the ending to the pipe
            )
        running = Running(process=process)
        running.watch = threading.Thread(target=self._watch, args=(machine, running), daemon=True)
        self.running[machine.id] = running
        running.watch.start()

    def stop(self, machine: Stored) -> None:
        running = self.running.pop(machine.id, None)
        if running is not None:
            self._end(running)

    def serial(self, machine: Stored) -> bytes:
        """What boot diagnostics has of the console; nothing where the body did not switch them on."""
        if not machine.properties.get("diagnosticsProfile", {}).get("bootDiagnostics", {}).get("enabled"):
            return b""
        log = self.folder / str(machine.properties.get("vmId", "-")) / "serial.log"
        return log.read_bytes() if log.exists() else b""

    # ---- its life --------------------------------------------------------------------------------------------------

    def _watch(self, machine: Stored, running: Running) -> None:
        """A machine that switches itself off is stopped, as Azure's instance view tells."""
        running.process.wait()
        if not running.is_meant and self.running.get(machine.id) is running:
            machine.power = "stopped"

    def _end(self, running: Running) -> None:
        running.is_meant = True
        assert running.process.stdin is not None
        running.process.stdin.close()
        running.process.wait(_END_SECONDS)
        if running.watch is not None:
            running.watch.join(_END_SECONDS)

    # ---- what it is made of ----------------------------------------------------------------------------------------

    def _make(self, machine: Stored, home: Path) -> None:
        home.mkdir()
        base = home / "os.vhd"
        self.fetch(self._source(machine), base)
        _overlay(home / "os.qcow2", vhd_size(base), base)
        for lun, disk in self._data_disks(machine):
            _overlay(home / f"data-{lun}.qcow2", int(disk.properties["diskSizeGB"]) << 30)
        if self._generation(machine) == "V2":
            shutil.copyfile(VARIABLES, home / "variables.fd")
        way_in.write_seed(home / "seed.iso", seed(machine))

    def _source(self, machine: Stored) -> Stored:
        """The disk that was uploaded: behind the machine's image, or behind the copy that is attached to it."""
        storage = machine.properties["storageProfile"]
        if "imageReference" in storage:
            image = self._resource(storage["imageReference"]["id"])
            return self._resource(image.properties["storageProfile"]["osDisk"]["managedDisk"]["id"])
        disk = self._resource(storage["osDisk"]["managedDisk"]["id"])
        return self._resource(disk.properties["creationData"]["sourceResourceId"])

    def _data_disks(self, machine: Stored) -> Iterator[tuple[int, Stored]]:
        for disk in machine.properties["storageProfile"].get("dataDisks", ()):
            yield int(disk["lun"]), self._resource(disk["managedDisk"]["id"], kind=DISK)

    def _generation(self, machine: Stored) -> str:
        return str(self._source(machine).properties.get("hyperVGeneration", "V1"))

    def _resource(self, id_: str, kind: str = "") -> Stored:
        found = self.resources[id_.lower()]
        assert kind in {"", found.type}, f"{id_} is a {found.type}"
        return found

    def _command(self, machine: Stored, home: Path, address: str) -> Iterator[str]:
        properties = machine.properties
        storage = properties["storageProfile"]
        assert storage.get("diskControllerType", "SCSI") == "SCSI", "the double has no NVMe controller"
        assert "securityProfile" not in properties or not properties["securityProfile"].get("uefiSettings"), "nor a TPM"
        cores, mebibytes = SHAPES[properties["hardwareProfile"]["vmSize"]]
        yield from ("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none")
        yield from ("-name", f"guest={machine.group}/{machine.name},debug-threads=on", "-machine", "q35,accel=tcg")
        yield from ("-cpu", board(Arch.X86_64).emulated_cpu, "-smp", str(cores), "-m", str(mebibytes))
        yield from ("-uuid", str(properties["vmId"]))
        code = GENERATIONS[self._generation(machine)]
        if code:
            yield from ("-drive", f"if=pflash,format=raw,readonly=on,file={code}")
            yield from ("-drive", f"if=pflash,format=raw,file={home / 'variables.fd'}")
        yield from ("-object", "rng-builtin,id=rng", "-device", "virtio-rng-pci,rng=rng")
        yield from ("-drive", f"if=none,id=os,format=qcow2,cache=unsafe,file={home / 'os.qcow2'}")
        yield from ("-device", "virtio-blk-pci,drive=os,bootindex=0")
        yield from ("-drive", f"if=none,id=seed,format=raw,readonly=on,file={home / 'seed.iso'}")
        yield from ("-device", "virtio-blk-pci,drive=seed")
        yield from ("-device", "virtio-scsi-pci,id=data")
        for lun, _ in self._data_disks(machine):
            yield from ("-drive", f"if=none,id=lun{lun},format=qcow2,cache=unsafe,file={home / f'data-{lun}.qcow2'}")
            yield from ("-device", f"scsi-hd,bus=data.0,scsi-id=0,lun={lun},drive=lun{lun}")
        yield from self._nics(properties["networkProfile"]["networkInterfaces"], address)
        yield from ("-chardev", f"file,id=serial,append=on,path={home / 'serial.log'}", "-serial", "chardev:serial")

    def _nics(self, references: list[Mapping[str, Any]], address: str) -> Iterator[str]:
        """Each in the addresses of its subnet, from the fourth on as on Azure. The primary one answers at the public
        address; nothing gets out by any.
        """
        for number, reference in enumerate(references):
            nic = self._resource(reference["id"])
            [configuration] = nic.properties["ipConfigurations"]
            subnet = self._subnet(configuration["properties"]["subnet"]["id"])
            first = subnet[4 + number]
            is_primary = reference.get("properties", {}).get("primary", number == 0)
            door = f",hostfwd=tcp:{address}:{self.port}-{first}:22" if is_primary and address else ""
            net = f"net={subnet},host={subnet[1]},dns={subnet[3]},dhcpstart={first}"
            mac = nic.properties["macAddress"].replace("-", ":")
            yield from ("-netdev", f"user,id=net{number},restrict=on,ipv6=off,{net}{door}")
            yield from ("-device", f"virtio-net-pci,netdev=net{number},mac={mac},romfile=")

    def _subnet(self, id_: str) -> IPv4Network:
        network, _, name = id_.rpartition("/subnets/")
        [prefix] = [
            subnet["properties"]["addressPrefix"]
            for subnet in self._resource(network).properties["subnets"]
            if subnet["name"] == name
        ]
        return IPv4Network(prefix)


def seed(machine: Stored) -> dict[str, bytes]:
    """What cloud-init finds: the deployed text as it is, and a name and number as Azure gives them."""
    profile = machine.properties.get("osProfile", {})
    text = profile.get("customData") or machine.properties["userData"]
    told = {"instance-id": machine.properties["vmId"], "local-hostname": profile.get("computerName", machine.name)}
    every = {"every": {"match": {"driver": "virtio_net"}, "dhcp4": True}}
    return {
        "meta-data": json.dumps(told).encode(),
        "user-data": base64.b64decode(text, validate=True),
        "network-config": json.dumps({"version": 2, "ethernets": every}).encode(),
    }


def vhd_size(path: Path) -> int:
    """Bytes of the disk in a fixed VHD, which has to be one to the letter (Microsoft's specification, 2006)."""
    with path.open("rb") as file:
        file.seek(-_FOOTER, 2)
        at = file.tell()
        footer = file.read(_FOOTER)
    cookie, version, offset, current, kind, told = (
        footer[:8],
        *struct.unpack_from(">IQ", footer, 12),
        *struct.unpack_from(">Q", footer, 48),
        *struct.unpack_from(">II", footer, 60),
    )
    summed = ~(sum(footer) - sum(footer[64:68])) & 0xFFFFFFFF
    assert (cookie, version, offset, kind) == (b"conectix", 0x10000, 2**64 - 1, 2), footer[:80]
    assert current == at, f"the footer says {current} bytes, {at} are there"
    assert current % (1 << 20) == 0, "Azure takes whole MiB only"
    assert told == summed, "the footer's checksum is wrong"
    return int(current)


def _overlay(path: Path, size: int, base: Path | None = None) -> None:
    behind = ("-F", "raw", "-b", base) if base else ()
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *behind, path, str(size)], check=True, timeout=60)
