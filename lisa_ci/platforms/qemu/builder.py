"""The files of one machine: overlay, data disks, firmware variables, and what lets us in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lisa_ci import host, ssh
from lisa_ci.errors import ProvisioningError
from lisa_ci.model import Access, Image, ImageFormat, Lease, Profile, WayIn
from lisa_ci.platforms.qemu import command_line, offline, storage, way_in
from lisa_ci.platforms.qemu.architecture import board
from lisa_ci.platforms.qemu.command_line import MachineFiles
from lisa_ci.platforms.qemu.way_in import Entry

CONSOLE_FILE: Final = "console.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A machine's place in its group. ``links`` are file descriptors that its QEMU inherits, see ``MachineFiles``."""

    role: str = "main"
    number: int = 0
    links: tuple[int, ...] = ()


class Builder:
    """Makes the files of one machine in its scratch folder."""

    def __init__(
        self,
        profile: Profile,
        subject: Image,
        path: Path,
        access: Access,
        lease: Lease,
        folder: Path,
        *,
        seat: Seat,
    ) -> None:
        self.seat = seat
        self.profile = profile
        self.subject = subject
        self.path = path
        self._lease = lease
        self.folder = folder
        self.access = access
        self.host_key = ssh.make_key(folder / "host-key")
        if access.way_in is WayIn.KEY:
            if not access.key:
                raise ProvisioningError(
                    "way in 'key' needs the private key's path", hint="write 'key:' under 'access:'"
                )
            self.key = Path(access.key).expanduser().absolute()
            self._public = ""
        else:
            pair = ssh.make_key(folder / "login-key")
            self.key, self._public = pair.private, pair.public

    @property
    def leg(self) -> str:
        return self._lease.leg

    @property
    def name(self) -> str:
        """For people: the leg's, and the role of a machine that is not its first."""
        return f"{self.leg} ({self.seat.role})" if self.seat.number else self.leg

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def console(self) -> Path:
        name = CONSOLE_FILE if not self.seat.number else f"console-{self.seat.role}.log"
        return self._lease.evidence.absolute() / name

    def files(self, modules: Path | None = None) -> MachineFiles:
        """All files, made and filled. Space is checked before anything is copied.

        ``modules``: a raw disk with the modules of a foreign kernel; the machine gets an overlay over it.
        """
        storage.check_space(self.folder)
        self._lease.evidence.mkdir(parents=True, exist_ok=True)
        root = self.folder / "root.qcow2"
        storage.make_overlay(root, self.subject.size_bytes)
        code = variables = None
        if command_line.needs_uefi(self.profile):
            code, variables = self._firmware()
        base, base_format, seed, credentials = self.path, self.subject.format, None, {}
        entry = self._entry()
        match self.access.way_in:
            case WayIn.OFFLINE:
                base, base_format = self._edited(entry), ImageFormat.RAW
            case WayIn.CREDENTIALS:
                credentials = self._credentials(entry)
            case WayIn.CLOUD_INIT:
                seed = self._seed(entry)
            case WayIn.AUTO | WayIn.KEY:
                seed, credentials = self._seed(entry), self._credentials(entry)
        return MachineFiles(
            base=base,
            base_format=base_format,
            root=root,
            console=self.console,
            disks=storage.make_disks(self.profile, self.folder),
            seed=seed,
            credentials=credentials,
            code=code,
            variables=variables,
            modules=self._modules_overlay(modules),
            modules_base=modules,
            number=self.seat.number,
            links=self.seat.links,
        )

    def _modules_overlay(self, base: Path | None) -> Path | None:
        if base is None:
            return None
        path = self.folder / "modules.qcow2"
        storage.make_overlay(path, base.stat().st_size)
        return path

    def _entry(self) -> Entry:
        return Entry(
            user=self.access.user,
            become=self.access.become,
            public_key=self._public,
            host_private=self.host_key.private.read_text(),
            host_public=self.host_key.public,
            networks=way_in.network_files(self.profile),
        )

    def _firmware(self) -> tuple[command_line.FirmwareFile, Path]:
        is_secure = self.profile.secure_boot
        found = storage.find_firmware(is_secure=is_secure, arch=self.profile.arch)
        if found is None:
            what = "UEFI firmware with Secure Boot" if is_secure else "UEFI firmware"
            hint = host.install_hint([board(self.profile.arch).firmware])
            raise ProvisioningError(f"this host has no {what}", hint=hint)
        variables = self.folder / "variables.qcow2"
        storage.copy_variables(found[1], variables)
        return found[0], variables

    def _seed(self, entry: Entry) -> Path:
        path = self.folder / "seed.iso"
        way_in.write_seed(path, way_in.seed_files(entry, self.profile, self.folder.name))
        return path

    def _credentials(self, entry: Entry) -> dict[str, Path]:
        written = {}
        for name, value in way_in.credentials(entry).items():
            path = self.folder / f"credential.{name}"
            path.write_bytes(value)
            written[name] = path
        return written

    def _edited(self, entry: Entry) -> Path:
        host.require("debugfs")
        path = self.folder / "edited.raw"
        storage.raw_copy(self.subject, self.path, path)
        offline.edit(path, entry, self.folder)
        return path
