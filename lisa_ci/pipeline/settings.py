"""The one table of everything that ``lisa-ci.yml`` may say: loader, JSON Schema and docs/pipeline.md come from it."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any, Final

from lisa_ci.model import (
    Access,
    Arch,
    Become,
    Bus,
    Disk,
    Endpoint,
    Firmware,
    ImageFormat,
    ImageSource,
    Kernel,
    Nic,
    Pipeline,
    Profile,
    ReleaseSettings,
    SuiteSelection,
    Timeouts,
    WayIn,
)
from lisa_ci.pipeline.console_settings import CONSOLE
from lisa_ci.pipeline.kinds import Choice, Duration, Flag, Id, Text, Whole
from lisa_ci.pipeline.reading import Kind
from lisa_ci.pipeline.tables import ABSENT, Either, ListOf, MapOf, Setting, Table

NIC_MODELS: Final = ("virtio", "e1000", "e1000e", "igb", "rtl8139", "vmxnet3")
RELEASE_FORMATS: Final = (ImageFormat.VHD, ImageFormat.QCOW2)
LEG_SUFFIX: Final = r"\.[0-9]+of[0-9]+$"
_VERSION: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._+~-]{0,126}[A-Za-z0-9])?"

PATH: Final = Text(words="a path", most=1000)
GLOB: Final = Text(
    words="a name or a glob (*, ?, [...])",
    pattern=r"[a-z0-9._*?\[\]!-]+",
    most=128,
    hint="names hold a-z, 0-9, '.', '_' and '-'",
)
PROFILE_NAME: Final = Id(refuse=LEG_SUFFIX, refuse_words="an ending like '.1of4' names a part of a leg")
REASON: Final = Text(words="a reason, in words", most=300)


def setting(of: type[Any], name: str, kind: Kind, description: str, *, example: object = ABSENT) -> Setting:
    """A setting whose default is that of the model's field: there is no second place for it."""
    field = next(field for field in dataclasses.fields(of) if field.name == name)
    has_default = field.default is not dataclasses.MISSING and field.default not in (None, "", ())
    default = field.default if has_default else ABSENT
    return Setting(name=name, kind=kind, description=description, default=default, example=example)


IMAGE: Final = Table(
    title="image",
    description="The disk under test. It is never written: machines run on overlays.",
    one_of=(("path", "url"),),
    needs={"url": "sha256"},
    settings=(
        setting(
            ImageSource,
            "path",
            PATH,
            "Path of the image, or a glob that matches exactly one file; relative to the pipeline file.",
            example="build/*.qcow2",
        ),
        setting(
            ImageSource,
            "url",
            Text(words="an https:// address", pattern=r"https?://[!-~]+", most=2000, hint="write https://..."),
            "Where to download the image: https, or http from this machine itself.",
            example="https://images.example.org/distro.qcow2",
        ),
        setting(
            ImageSource,
            "sha256",
            Text(words="64 hexadecimal digits", pattern="[0-9a-fA-F]{64}", hint="sha256sum FILE prints them"),
            "SHA-256 of the image file. Required with `url`.",
            example="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        ),
        setting(
            ImageSource,
            "format",
            Choice(of=ImageFormat),
            "Container of the disk. Without it, the file itself tells; with it, a file of another kind is refused.",
            example="qcow2",
        ),
        setting(ImageSource, "arch", Choice(of=Arch), "Processor architecture that the image is built for."),
        setting(
            ImageSource,
            "firmware",
            ListOf(kind=Choice(of=Firmware), least=1, most=2, is_unique=True),
            "Firmware that the image boots with. Profiles with other firmware are left out.",
        ),
    ),
)

KERNEL: Final = Table(
    title="kernel",
    description="A foreign kernel to boot the image with: docs/kernel-gate.md. What was tested so is never signed as a "
    "release.",
    one_of=(("from", "image"),),
    needs={"extra": "from", "modules": "image", "config": "image", "vmlinux": "image"},
    settings=(
        Setting(
            name="from",
            kind=PATH,
            description="What the build delivers: a build tree after `make`, a folder with boot/ and lib/modules/, a "
            "tar file of one of them, a Debian package or an RPM. The kernel, its modules, config, System.map and "
            "vmlinux are found in it.",
            example="build/linux-image.deb",
        ),
        setting(
            Kernel,
            "extra",
            PATH,
            "Folder with modules (*.ko) that were built for this kernel outside of its tree, as a module's repository "
            "does. They go into lib/modules/VERSION/updates.",
            example="build/modules",
        ),
        setting(
            Kernel,
            "image",
            PATH,
            "Path of the kernel (bzImage), where the other files are named one by one.",
            example="build/arch/x86/boot/bzImage",
        ),
        setting(
            Kernel,
            "modules",
            PATH,
            "Folder that holds lib/modules/VERSION of this kernel. Without an initrd they are there from the start; "
            "with one, they are copied into the machine after its login, and what it needs until then is in the kernel "
            "or in that initrd.",
            example="build/modules",
        ),
        setting(
            Kernel,
            "config",
            PATH,
            "Path of its .config: what booting needs is checked against it before anything starts.",
            example="build/.config",
        ),
        setting(
            Kernel,
            "initrd",
            PATH,
            "Path of an initrd. Without one, lisa-ci makes its own where the kernel needs it.",
            example="build/initrd.img",
        ),
        setting(
            Kernel,
            "command_line",
            Text(words="a kernel command line", pattern="[ -~]+", most=2000, hint="use printable ASCII only"),
            "Kernel command line; `root=` (found in the image) and the serial console are added where missing.",
            example="root=LABEL=root ro",
        ),
        setting(
            Kernel,
            "vmlinux",
            PATH,
            "Path of the uncompressed kernel with symbols; its build id is proven in the machine.",
            example="build/vmlinux",
        ),
    ),
)

ACCESS: Final = Table(
    title="access",
    description="Who logs in to a machine, and how our key gets there.",
    needs={"key": "way_in"},
    settings=(
        setting(
            Access,
            "user",
            Text(
                words="a user name",
                pattern=r"[A-Za-z_][A-Za-z0-9_.-]{0,31}",
                hint="letters, digits, '_', '.', '-', a letter or '_' first, at most 32 characters",
            ),
            "User that logs in over SSH.",
        ),
        setting(Access, "become", Choice(of=Become), "How this user gets root's rights; `sudo` must need no password."),
        setting(
            Access,
            "way_in",
            Choice(of=WayIn),
            "How a key made for the leg gets in: `cloud-init`, systemd `credentials`, an `offline` edit of the "
            "overlay, or `key` (the machine has yours already). `auto` offers the first two together.",
        ),
        setting(
            Access,
            "key",
            PATH,
            "Path of the private key that the machine already accepts. Only with `way_in: key`.",
            example="keys/id_ed25519",
        ),
    ),
)

DISK: Final = Table(
    title="disk",
    description="A data disk beside the image's own: empty, thrown away with the machine.",
    settings=(
        setting(Disk, "size_mib", Whole(least=1, most=16 << 20), "Size in MiB. It takes no space until written to."),
        setting(Disk, "bus", Choice(of=Bus), "Bus that the disk sits on."),
        setting(
            Disk,
            "namespaces",
            Whole(least=1, most=32),
            "Block devices of this size behind one NVMe controller. Only with `bus: nvme`.",
        ),
        setting(
            Disk,
            "queues",
            Whole(least=0, most=64),
            "Queues that the machine's kernel finds, at most one for each core; 0 leaves that to the platform. Not "
            "with `bus: sata`; disks on the `scsi` bus share the most that one of them asks for.",
        ),
    ),
)

NIC: Final = Table(
    title="nic",
    description="A network card beside the one that tests are driven over.",
    settings=(
        setting(Nic, "model", Choice(choices=NIC_MODELS), "Card that the machine sees."),
        setting(Nic, "outbound", Flag(), "Gives the card a way to the outside; without, it reaches nothing."),
        setting(
            Nic,
            "queues",
            Whole(least=1, most=64),
            "Pairs of queues, at most one for each core. Several only with `model: virtio` and without `outbound`.",
        ),
    ),
)

ENDPOINT: Final = Table(
    title="endpoint",
    description="A machine that already runs (platform `ssh`).",
    settings=(
        Setting(
            name="host",
            kind=Text(
                words="a host name or address",
                pattern=r"[A-Za-z0-9:](?:[A-Za-z0-9.:-]*[A-Za-z0-9:])?",
                most=253,
                hint="without user and port: they have keys of their own",
            ),
            description="Name or address where it listens.",
            is_required=True,
            example="192.0.2.10",
        ),
        setting(Endpoint, "port", Whole(least=1, most=65535), "Port of its SSH server."),
        Setting(
            name="host_key",
            kind=Text(
                words="a public key 'TYPE BASE64'",
                pattern=r"(?:ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)) [A-Za-z0-9+/]{40,2000}={0,2}",
                most=2100,
                hint="ssh-keyscan HOST prints it; compare it with the machine's own before you trust it",
            ),
            description="The machine's public host key, `TYPE BASE64`. No other key is accepted.",
            is_required=True,
            example="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5rLkxKVPKmkYJ0jMGJvmDvXyyhiFSz6YvcYFOWDhVu",
        ),
    ),
)

PROFILE: Final = Table(
    title="profile",
    description="A hardware profile: the shape a machine is made with. Keys that are given replace those of `from`.",
    settings=(
        Setting(
            name="name",
            kind=PROFILE_NAME,
            description="Names the profile, its leg, folder, artifact and check.",
            is_required=True,
            example="uefi-nvme",
        ),
        Setting(
            name="from",
            kind=PROFILE_NAME,
            description="Profile to start from: of the catalogue (docs/profiles.md), or an earlier one of this file.",
            example="uefi",
        ),
        setting(
            Profile,
            "description",
            Text(words="a sentence", most=300),
            "What the profile is for.",
            example="UEFI with NVMe",
        ),
        setting(
            Profile, "platform", Text(words="a platform", pattern="[a-z0-9_-]+", most=50), "What makes the machine."
        ),
        setting(Profile, "arch", Choice(of=Arch), "Processor architecture of the machine."),
        setting(Profile, "firmware", Choice(of=Firmware), "Firmware that the machine boots with."),
        setting(Profile, "cores", Whole(least=1, most=1024), "Number of processors."),
        setting(Profile, "memory_mib", Whole(least=64, most=16 << 20), "Memory in MiB."),
        setting(
            Profile,
            "disks",
            ListOf(kind=DISK, most=64),
            "Data disks beside the image's own.",
            example=[{"bus": "nvme"}],
        ),
        setting(
            Profile,
            "nics",
            ListOf(kind=NIC, most=16),
            "Network cards beside the control NIC.",
            example=[{"model": "e1000e"}],
        ),
        setting(
            Profile,
            "numa_nodes",
            Whole(least=1, most=64),
            "NUMA nodes that processors and memory are spread over, evenly.",
        ),
        setting(Profile, "tpm", Flag(), "A TPM 2.0 of its own, empty at the start (by swtpm)."),
        setting(
            Profile,
            "secure_boot",
            Flag(),
            "UEFI with Secure Boot enforced and Microsoft's keys enrolled. The image needs a signed boot loader.",
        ),
        setting(
            Profile,
            "hotplug",
            Flag(),
            "Four free PCIe ports for disks and NICs, as many processors and as much memory again, and slots for them.",
        ),
        setting(Profile, "endpoint", ENDPOINT, "The running machine that is this profile (platform `ssh`)."),
        setting(
            Profile,
            "runs_on",
            Text(words="a runner label", pattern=r"[A-Za-z0-9](?:[A-Za-z0-9._ -]*[A-Za-z0-9])?", most=100),
            "Label of the GitHub runner that the leg runs on.",
        ),
    ),
)

RESERVED_PREFIX: Final = "LISA_CI_"
ENVIRONMENT: Final = MapOf(
    key=Text(
        words="a variable name",
        pattern=rf"(?!{RESERVED_PREFIX})[A-Za-z_][A-Za-z0-9_]*",
        most=100,
        hint=f"letters, digits and '_'; names that start with {RESERVED_PREFIX} are set by lisa-ci",
    ),
    value=Text(words="text", least=0, most=4000, is_lines=True),
    most=200,
)

SUITE_SELECTION: Final = Table(
    title="suite",
    description="A suite, and how much of it runs where.",
    settings=(
        Setting(
            name="suite",
            kind=PATH,
            description="Name of a bundled suite (`lisa-ci suite list`), or the path of a folder with a suite.yaml.",
            is_required=True,
            example="userland",
        ),
        setting(
            SuiteSelection, "shards", Whole(least=1, most=256), "Parts that the cases are spread over, a leg each."
        ),
        setting(SuiteSelection, "profiles", ListOf(kind=GLOB, least=1), "Profiles that it runs on, by name or glob."),
        setting(
            SuiteSelection,
            "only",
            ListOf(kind=GLOB, least=1),
            "Runs these cases only, by id or glob.",
            example=["net-*"],
        ),
        Setting(
            name="skip",
            kind=MapOf(key=GLOB, value=REASON),
            description="Cases that do not run, by id or glob, each with the reason.",
            example={"locale-*": "this image ships no locales"},
        ),
        setting(SuiteSelection, "required", Flag(), "The gate is red when no case of the suite ran."),
        setting(
            SuiteSelection,
            "environment",
            ENVIRONMENT,
            "Environment variables of its cases, on top of the suite's own.",
            example={"LTP_RUNTEST": "syscalls mm"},
        ),
    ),
)

TIMEOUTS: Final = Table(
    title="timeouts",
    description="How long things may take.",
    settings=(
        setting(Timeouts, "boot", Duration(most=timedelta(hours=6)), "From power-on to login."),
        setting(Timeouts, "case", Duration(most=timedelta(hours=24)), "One case that has no timeout of its own."),
        setting(
            Timeouts,
            "leg",
            Duration(least=timedelta(minutes=1)),
            "A whole leg. GitHub's own runners end a job after 6 hours.",
        ),
        setting(
            Timeouts,
            "silence",
            Duration(least=timedelta(seconds=5), most=timedelta(hours=1)),
            "A machine without a sign of life for so long is taken for hung.",
        ),
    ),
)

RELEASE: Final = Table(
    title="release",
    description="What a release is called and contains.",
    settings=(
        setting(
            ReleaseSettings,
            "name",
            Text(words="a name", pattern=_VERSION, most=128, hint="letters, digits, '.', '_', '+', '~' and '-'"),
            "Begins the release's file names. Without it, the pipeline's name.",
            example="my-distro",
        ),
        setting(
            ReleaseSettings,
            "version",
            Text(words="a version", pattern=_VERSION, most=128, hint="letters, digits, '.', '_', '+', '~' and '-'"),
            "Version of the release.",
            example="13.1",
        ),
        setting(
            ReleaseSettings,
            "formats",
            ListOf(
                kind=Choice(of=ImageFormat, choices=tuple(item.value for item in RELEASE_FORMATS)),
                least=1,
                most=len(RELEASE_FORMATS),
                is_unique=True,
            ),
            "Containers that the disk is packed into.",
        ),
    ),
)

PIPELINE: Final = Table(
    title="pipeline",
    description="A lisa-ci pipeline: which image is tested on which hardware profiles by which suites.",
    settings=(
        Setting(
            name="name",
            kind=Text(words="a name", most=100),
            description="Name of the pipeline, for people.",
            is_required=True,
            example="my-distro",
        ),
        setting(Pipeline, "image", IMAGE, IMAGE.description + " May be left out where every profile already runs."),
        setting(Pipeline, "kernel", KERNEL, KERNEL.description),
        setting(Pipeline, "access", ACCESS, ACCESS.description),
        Setting(
            name="profiles",
            kind=ListOf(
                kind=Either(short=PROFILE_NAME, long=PROFILE, words="a catalogue name or a profile"), least=1, most=1000
            ),
            description="Hardware profiles: names of the catalogue (docs/profiles.md), or profiles of your own.",
            is_required=True,
            example=["bios", {"name": "uefi-nvme", "from": "uefi", "disks": [{"size_mib": 2048, "bus": "nvme"}]}],
        ),
        Setting(
            name="suites",
            kind=ListOf(
                kind=Either(short=PATH, long=SUITE_SELECTION, words="a suite's name or path, or a mapping"),
                least=1,
                most=1000,
            ),
            description="Suites to run: names, paths, or mappings that say more.",
            is_required=True,
            example=["boot", {"suite": "userland", "shards": 2}],
        ),
        setting(Pipeline, "timeouts", TIMEOUTS, TIMEOUTS.description),
        setting(Pipeline, "release", RELEASE, RELEASE.description),
        setting(Pipeline, "console", CONSOLE, "Findings on the console that do not fail a case, each with a reason."),
        Setting(
            name="baseline",
            kind=Text(words="a path", most=1000),
            description=(
                "File of known failures, which do not shut the gate: [the baseline](baseline.md). Relative to the "
                "pipeline file."
            ),
            example="baseline.yml",
        ),
        setting(
            Pipeline,
            "allow_empty",
            Flag(),
            "A plan without a single leg is green instead of an error (exit code 3).",
        ),
    ),
)

MEASURED: Final = Table(
    title="measured",
    description="What was measured of the catalogue's profiles.",
    settings=(
        Setting(name="on", kind=Text(words="when and where", most=200), description="The host.", is_required=True),
        Setting(
            name="boot_seconds",
            kind=MapOf(key=Text(words="a profile"), value=Whole(least=1, most=3600)),
            description="From QEMU's start to the login, whole seconds, by the profile's name.",
            is_required=True,
        ),
        Setting(
            name="no_snapshot",
            kind=MapOf(key=Text(words="a profile"), value=REASON),
            description="Profiles whose machines QEMU cannot snapshot, and why.",
            is_required=True,
        ),
    ),
)

CATALOGUE: Final = Table(
    title="catalogue",
    description="The profiles that come with lisa-ci.",
    settings=(
        Setting(name="measured", kind=MEASURED, description=MEASURED.description, is_required=True),
        Setting(
            name="profiles",
            kind=ListOf(kind=PROFILE, least=1),
            description="The profiles, each built on an earlier one where `from` says so.",
            is_required=True,
        ),
    ),
)
