"""What a pipeline file may say of a profile's machines on Azure."""

from __future__ import annotations

from typing import Final

from lisa_ci.model import Azure, Controller, DiskEncryption, Eviction, Outbound, Placement, SecurityType, Spot, Storage
from lisa_ci.pipeline.kinds import Choice, Flag, Text, Whole
from lisa_ci.pipeline.setting import setting
from lisa_ci.pipeline.tables import ListOf, Table

SIZE: Final = Text(
    words="an exact size such as Standard_D2s_v5",
    pattern=r"(?:Standard|Basic)_[A-Za-z][A-Za-z0-9-]*(?:_[A-Za-z0-9]+){0,4}",
    most=64,
    hint="the whole name, as 'lisa-ci azure sizes' prints it: no other size ever stands in for it",
)
REGION: Final = Text(
    words="a region such as westeurope", pattern="[a-z][a-z0-9]{2,30}", most=31, hint="lower case, no spaces"
)

SPOT: Final = Table(
    title="spot",
    description="A machine from spare capacity, which Azure may take back; that is a failure of infrastructure.",
    settings=(
        setting(
            Spot,
            "max_price",
            Text(
                words="US dollars an hour, such as '0.05'",
                pattern=r"(?=.*[1-9])[0-9]{1,4}(?:\.[0-9]{1,5})?",
                most=10,
                hint="in quotes, more than nothing, at most five decimals",
            ),
            "US dollars an hour, in quotes. Without it, the price of a machine that is kept is the limit.",
            example="0.05",
        ),
        setting(Spot, "eviction", Choice(of=Eviction), "What becomes of a machine that is taken back."),
    ),
)

AZURE: Final = Table(
    title="azure",
    description="Machines on Azure (platform `azure`): what the keys of every platform cannot say.",
    settings=(
        setting(
            Azure,
            "sizes",
            ListOf(kind=SIZE, least=1, most=20, is_unique=True),
            "Sizes in the order in which they are tried.",
            example=["Standard_D2s_v5", "Standard_D2s_v4"],
        ),
        setting(
            Azure,
            "regions",
            ListOf(kind=REGION, least=1, most=60, is_unique=True),
            "Regions in the order in which they are tried.",
            example=["westeurope", "northeurope"],
        ),
        setting(
            Azure,
            "zones",
            ListOf(kind=Choice(choices=("1", "2", "3")), least=1, most=3, is_unique=True),
            "Availability zones in the order in which they are tried. Without them, none is asked for.",
            example=["1", "2"],
        ),
        setting(Azure, "spot", SPOT, SPOT.description),
        setting(
            Azure,
            "security_type",
            Choice(of=SecurityType),
            "`auto` is what `tpm`, `secure_boot` and `confidential` ask for. `standard`, where it is written, is told "
            "to Azure, which refuses it unless the subscription has the feature `UseStandardSecurityType`.",
        ),
        setting(
            Azure,
            "disk_encryption",
            Choice(of=DiskEncryption),
            "Confidential machines only: the firmware's `state` is bound to the machine, the whole `disk` as well, or "
            "`none`: its TPM is new at each start.",
        ),
        setting(
            Azure,
            "accelerated_networking",
            ListOf(kind=Flag(), least=1, most=17),
            "One for the control NIC, then one for each of `nics`. Without it, every NIC where the size can.",
            example=[True],
        ),
        setting(
            Azure,
            "controller",
            Choice(of=Controller),
            "Bus of the image's own disk. `auto` is that of `disks`, else SCSI where the size has it, else NVMe.",
        ),
        setting(
            Azure,
            "os_storage",
            Choice(
                of=Storage,
                choices=tuple(item.value for item in Storage if item not in {Storage.PREMIUM_V2, Storage.ULTRA}),
            ),
            "Kind of the image's own disk.",
        ),
        setting(
            Azure,
            "os_placement",
            Choice(of=Placement),
            "Where the image's own disk lies: in storage (`managed`), or on the host, in its `cache`, on its "
            "`temporary` disk or its `nvme` disks, and then it is gone with the machine.",
        ),
        setting(
            Azure,
            "data_storage",
            ListOf(kind=Choice(of=Storage), least=1, most=64),
            "Kind of each of `disks`, in their order. Without it, that of `os_storage`.",
            example=["premium-v2"],
        ),
        setting(
            Azure,
            "local_nvme",
            Whole(least=0, most=16),
            "NVMe disks that the size itself has to bring, beside `disks`.",
        ),
        setting(Azure, "proximity", Flag(), "The machines are near each other: a proximity placement group."),
        setting(
            Azure,
            "availability_set",
            Flag(),
            "The machines share an availability set, which InfiniBand between them needs.",
        ),
        setting(
            Azure,
            "outbound",
            Choice(of=Outbound),
            "Way out of the control NIC, which a network does not have by itself: its `public-ip`, a `nat` gateway, or "
            "`none`.",
        ),
        setting(
            Azure, "boot_diagnostics", Flag(), "Serial console and screenshot, kept by Azure in storage of its own."
        ),
        setting(
            Azure,
            "user_data",
            Text(words="text", least=0, most=40000, is_lines=True),
            "What the machine reads as its user data from the metadata service.",
            example="role=web",
        ),
    ),
)
