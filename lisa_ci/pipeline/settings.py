"""The one table of everything that ``lisa-ci.yml`` may say: loader, JSON Schema and docs/pipeline.md come from it."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from lisa_ci.model import (
    LEAST_PRIORITY,
    Access,
    Arch,
    Become,
    Firmware,
    ImageFormat,
    ImageSource,
    Kernel,
    Pipeline,
    ReleaseSettings,
    SuiteSelection,
    Timeouts,
    WayIn,
)
from lisa_ci.pipeline.console_settings import CONSOLE
from lisa_ci.pipeline.download_settings import FETCH
from lisa_ci.pipeline.kinds import Choice, Duration, Flag, Text, Whole
from lisa_ci.pipeline.profile_settings import PROFILE
from lisa_ci.pipeline.setting import GLOB, PATH, PROFILE_NAME, REASON, setting
from lisa_ci.pipeline.tables import Either, ListOf, MapOf, Setting, Table

RELEASE_FORMATS: Final = (ImageFormat.VHD, ImageFormat.QCOW2)
_VERSION: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._+~-]{0,126}[A-Za-z0-9])?"

IMAGE: Final = Table(
    title="image",
    description="The disk under test. It is never written: machines run on overlays.",
    one_of=(("path", "url", "azure"),),
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
            "azure",
            Text(
                words="a name of an image on Azure",
                pattern=r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?::[A-Za-z0-9_.-]+){3}|/[!-~]+|https://[!-~]+",
                most=2000,
                hint="PUBLISHER:OFFER:SKU:VERSION, or the path of a gallery's image: docs/azure.md",
            ),
            "Image that Azure has: PUBLISHER:OFFER:SKU:VERSION of the Marketplace, the path of an image of a Compute "
            "Gallery (own, shared or community), of an image or a disk, or the address of a page blob. `latest` is the "
            "version that it is when the plan is made. It is gated on, and never signed as a release: docs/azure.md.",
            example="Debian:debian-12:12-gen2:latest",
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
        setting(
            SuiteSelection,
            "priority",
            Whole(least=0, most=LEAST_PRIORITY),
            "Runs cases of this priority and of smaller numbers only: 0 is what all else stands on. Suites that list "
            "their cases in the machine run all.",
        ),
        setting(SuiteSelection, "required", Flag(), "The gate is red when no case of the suite ran."),
        setting(
            SuiteSelection,
            "environment",
            ENVIRONMENT,
            "Environment variables of its cases, on top of the suite's own.",
            example={"LTP_RUNTEST": "syscalls mm"},
        ),
        setting(
            SuiteSelection,
            "fetch",
            FETCH,
            "Files from the network that lie in the suite's folder in the machine, on top of the suite's own.",
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
        setting(
            ReleaseSettings,
            "allow_known_failures",
            Flag(),
            "Let `sign` sign an image of which cases failed as the [baseline](baseline.md) knows. The statement says "
            "`WARNED` then, and names them.",
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
        setting(
            Pipeline,
            "install_packages",
            Flag(),
            "Packages that the suites of a leg name are installed in its machines before anything else, by the "
            "machine's own package manager and from where it gets them. Without it, the image is tested as it was "
            "delivered: what it lacks is a skip that says so.",
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
