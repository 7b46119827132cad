from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any

import jsonschema
import pytest

from lisa_ci import files
from lisa_ci.errors import ProvisioningError
from lisa_ci.model import (
    Access,
    Arch,
    Become,
    Bus,
    Confidential,
    Controller,
    Disk,
    DiskEncryption,
    Eviction,
    Firmware,
    Nic,
    Outbound,
    Placement,
    SecurityType,
    Spot,
    Storage,
)
from lisa_ci.platforms.azure import bodies, names
from lisa_ci.platforms.azure.images_ref import Blob, ImageFacts, ManagedDisk, ManagedImage, Marketplace, Purchase
from lisa_ci.platforms.azure.shape import GroupPlan
from lisa_ci.platforms.azure.static import plan_problems
from lisa_ci.platforms.azure.template import literal, plan_group, roles
from tests.unit.platforms.azure.orders import SUBSCRIPTION, fixture, machine_body, of_type, order, placed, profile

DISK = ManagedDisk(subscription=SUBSCRIPTION, group="images", name="distro")
BLOB = Blob(url="https://builds.blob.core.windows.net/images/distro.vhd", account_id="/account")
NOT_GENERAL = ImageFacts(is_generalized=False)


def cloud_config(encoded: str) -> dict[str, Any]:
    text = base64.b64decode(encoded).decode()
    head, _, rest = text.partition("\n")
    assert head == "#cloud-config"
    read: dict[str, Any] = json.loads(rest)
    return read


def rules(plan: GroupPlan, name: str) -> dict[str, dict[str, Any]]:
    group = next(one for one in of_type(plan, bodies.SECURITY_GROUP) if one.name == name)
    return {rule["name"]: rule["properties"] for rule in group.body["properties"]["securityRules"]}


def subnets(plan: GroupPlan) -> dict[str, dict[str, Any]]:
    return {one["name"]: one["properties"] for one in of_type(plan, bodies.NETWORK)[0].body["properties"]["subnets"]}


# ---- the whole -----------------------------------------------------------------------------------------------------


def test_one_machine_takes_two_write_requests_and_the_first_bears_the_lease() -> None:
    plan = plan_group(order())
    assert [one.type for one in plan.writes] == [bodies.GROUP, bodies.DEPLOYMENT]
    assert len(plan.writes) <= 4
    assert plan.group.body["tags"] == {
        "lisa-ci-owner": "octo/distro-42",
        "lisa-ci-leg": "az.1of2",
        "lisa-ci-attempt": "3",
        "lisa-ci-delete-after": "2026-12-01T10:30:00Z",
    }


def test_the_group_lies_in_the_region_and_may_have_another_name() -> None:
    plan = plan_group(order(), group="lisa-ci-again")
    assert plan.group.body["location"] == "westeurope"
    assert plan.group.name == "lisa-ci-again"
    assert all("/resourceGroups/lisa-ci-again/" in one.id for one in plan.resources)
    assert plan_group(order()).group.name == names.group(order().lease)


def test_two_machines_take_two_write_requests_as_well() -> None:
    assert len(plan_group(order(profile(machines=2))).writes) == 2


def test_everything_bears_the_lease() -> None:
    plan = plan_group(order(profile(machines=2, disks=(Disk(bus=Bus.SCSI),))))
    assert {json.dumps(one.body["tags"], sort_keys=True) for one in (*plan.resources, plan.deployment)} == {
        json.dumps(plan.group.body["tags"], sort_keys=True)
    }


def test_the_same_order_gives_the_same_bytes() -> None:
    one, other = (files.encode(plan_group(order(profile(machines=2)))) for _ in range(2))
    assert one == other


def test_the_template_holds_exactly_the_bodies_of_the_puts() -> None:
    plan = plan_group(order())
    entries = plan.deployment.body["properties"]["template"]["resources"]
    for entry, one in zip(entries, plan.resources, strict=True):
        rest = {key: value for key, value in entry.items() if key not in {"type", "apiVersion", "name", "dependsOn"}}
        assert rest == one.body
        assert (entry["type"], entry["apiVersion"], entry["name"]) == (one.type, one.api_version, one.name)
        assert tuple(entry.get("dependsOn", ())) == one.depends_on


def test_the_template_fits_azures_schema_of_templates() -> None:
    schema = fixture("deployment-template.schema.json")
    plan = plan_group(order(profile(machines=2, disks=(Disk(bus=Bus.SCSI),))))
    template = plan.deployment.body["properties"]["template"]
    validator = jsonschema.Draft4Validator(schema)
    assert list(validator.iter_errors(template)) == []
    broken = {**template, "resources": [{"apiVersion": "2025-09-01", "name": "x"}]}
    assert list(validator.iter_errors(broken)), "the schema is of use"


def test_a_text_that_looks_like_an_expression_is_escaped() -> None:
    assert literal({"a": ["[concat('x')]", "plain", 1, True, None]}) == {
        "a": ["[[concat('x')]", "plain", 1, True, None]
    }
    plan = plan_group(order(lease=dataclasses.replace(order().lease, owner="[resourceGroup().id]")))
    entry = plan.deployment.body["properties"]["template"]["resources"][0]
    assert entry["tags"][names.OWNER] == "[[resourceGroup().id]"
    assert plan.resources[0].body["tags"][names.OWNER] == "[resourceGroup().id]"
    assert not any("expression" in problem for problem in plan_problems(plan))


def test_machines_have_the_roles_of_the_other_platforms() -> None:
    assert roles(1) == ("main",)
    assert roles(3) == ("client", "server", "server2")
    plan = plan_group(order(profile(machines=2)))
    assert [(one.role, one.name) for one in plan.machines] == [("client", "m0"), ("server", "m1")]


def test_every_id_of_a_planned_machine_is_made_or_made_with_it() -> None:
    plan = plan_group(order(profile(disks=(Disk(bus=Bus.SCSI),), nics=(Nic(),))))
    made = {one.id for one in plan.resources}
    machine = plan.machines[0]
    assert {machine.id, *machine.nic_ids, machine.address_id, *machine.disk_ids} <= made
    assert len(machine.nic_ids) == 2
    assert machine.os_disk_id.endswith("/disks/m0-os")


# ---- network -------------------------------------------------------------------------------------------------------


def test_only_the_runner_gets_in_and_only_to_ssh() -> None:
    found = rules(plan_group(order(runner=("192.0.2.7", "198.51.100.0/24"))), "control")
    inbound = {name: rule for name, rule in found.items() if rule["direction"] == "Inbound"}
    allowed = [rule for rule in inbound.values() if rule["access"] == "Allow"]
    assert [(rule["sourceAddressPrefixes"], rule["destinationPortRange"], rule["protocol"]) for rule in allowed] == [
        (["192.0.2.7", "198.51.100.0/24"], "22", "Tcp")
    ]
    deny = inbound["no-inbound"]
    assert (deny["access"], deny["sourceAddressPrefix"], deny["priority"]) == ("Deny", "*", 4096)


@pytest.mark.parametrize(
    ("nics", "expected"),
    [
        ((), {"control"}),
        ((Nic(link=True),), {"control", "link1"}),
        ((Nic(), Nic(link=True)), {"control", "closed", "link2"}),
        ((Nic(outbound=True),), {"control", "outbound"}),
    ],
)
def test_there_are_the_subnets_that_nics_need_and_no_others(nics: tuple[Nic, ...], expected: set[str]) -> None:
    plan = plan_group(order(profile({"outbound": Outbound.NAT}, machines=2, nics=nics)))
    assert set(subnets(plan)) == expected
    assert {one.name for one in of_type(plan, bodies.SECURITY_GROUP)} == expected


def test_every_rule_says_who_sends_and_who_receives() -> None:
    plan = plan_group(order(profile({"outbound": Outbound.NAT}, machines=2, nics=(Nic(link=True), Nic()))))
    for group in of_type(plan, bodies.SECURITY_GROUP):
        for rule in rules(plan, group.name).values():
            assert rule["sourcePortRange"] == "*"
            for end in ("source", "destination"):
                assert f"{end}AddressPrefix" in rule or f"{end}AddressPrefixes" in rule, (group.name, rule)


def test_without_the_runners_address_nothing_is_planned() -> None:
    with pytest.raises(ProvisioningError, match="no port is opened to everybody"):
        plan_group(order(runner=()))


@pytest.mark.parametrize("outbound", Outbound)
def test_a_network_has_the_way_out_that_was_given_to_it_and_no_other(outbound: Outbound) -> None:
    plan = plan_group(order(profile({"outbound": outbound})))
    control = subnets(plan)["control"]
    assert control["defaultOutboundAccess"] is False
    assert ("natGateway" in control) == (outbound is Outbound.NAT)
    assert ("no-outbound" in rules(plan, "control")) == (outbound is Outbound.NONE)
    assert len(of_type(plan, bodies.GATEWAY)) == (outbound is Outbound.NAT)


def test_a_private_link_lets_in_its_own_machines_only() -> None:
    plan = plan_group(order(profile(machines=2, nics=(Nic(link=True),))))
    prefix = subnets(plan)["link1"]["addressPrefix"]
    found = rules(plan, "link1")
    assert found["in-from-link"]["sourceAddressPrefix"] == prefix
    assert found["out-to-link"]["destinationAddressPrefix"] == prefix
    assert found["no-inbound"]["access"] == found["no-outbound"]["access"] == "Deny"


def test_a_nic_without_link_and_way_out_reaches_nothing() -> None:
    plan = plan_group(order(profile(nics=(Nic(),))))
    assert {name: rule["access"] for name, rule in rules(plan, "closed").items()} == {
        "no-inbound": "Deny",
        "no-outbound": "Deny",
    }
    nic = next(one for one in of_type(plan, bodies.NIC) if one.name == "m0-nic1")
    configuration = nic.body["properties"]["ipConfigurations"][0]["properties"]
    assert configuration["subnet"]["id"].endswith("/subnets/closed")
    assert "publicIPAddress" not in configuration


def test_a_nic_with_a_way_out_goes_through_the_gateway_and_nobody_comes_in() -> None:
    plan = plan_group(order(profile({"outbound": Outbound.NAT}, nics=(Nic(outbound=True),))))
    assert "natGateway" in subnets(plan)["outbound"]
    assert set(rules(plan, "outbound")) == {"no-inbound"}


@pytest.mark.parametrize(
    ("flags", "can", "expected"),
    [((), True, [True, True]), ((), False, [False, False]), ((True, False), True, [True, False])],
)
def test_accelerated_networking_is_as_asked_where_the_size_can(
    flags: tuple[bool, ...], can: bool, expected: list[bool]
) -> None:
    plain = order(profile({"accelerated_networking": flags}, nics=(Nic(),)))
    plan = plan_group(placed(plain, accelerated_networking=can))
    assert [one.body["properties"]["enableAcceleratedNetworking"] for one in of_type(plan, bodies.NIC)] == expected


def test_the_control_nic_is_the_primary_one() -> None:
    nics = machine_body(plan_group(order(profile(nics=(Nic(), Nic())))))["networkProfile"]["networkInterfaces"]
    assert [one["properties"]["primary"] for one in nics] == [True, False, False]
    assert all(one["properties"]["deleteOption"] == "Delete" for one in nics)


# ---- disks ---------------------------------------------------------------------------------------------------------


def test_disks_have_their_number_as_lun_whole_gib_and_go_with_the_machine() -> None:
    disks = (Disk(size_mib=1000, bus=Bus.SCSI), Disk(size_mib=4097, bus=Bus.SCSI))
    plan = plan_group(order(profile({"data_storage": (Storage.STANDARD_SSD, Storage.PREMIUM_V2)}, disks=disks)))
    made = of_type(plan, bodies.DISK)
    assert [one.body["properties"]["diskSizeGB"] for one in made] == [1, 5]
    assert [one.body["sku"]["name"] for one in made] == ["StandardSSD_LRS", "PremiumV2_LRS"]
    attached = machine_body(plan)["storageProfile"]["dataDisks"]
    assert [(one["lun"], one["caching"], one["deleteOption"]) for one in attached] == [
        (0, "None", "Delete"),
        (1, "None", "Delete"),
    ]


def test_ultra_disks_are_asked_for_on_the_machine_too() -> None:
    plan = plan_group(order(profile({"data_storage": (Storage.ULTRA,)}, disks=(Disk(bus=Bus.SCSI),))))
    assert machine_body(plan)["additionalCapabilities"] == {"ultraSSDEnabled": True}
    assert "additionalCapabilities" not in machine_body(plan_group(order()))


def test_nobody_downloads_a_disk() -> None:
    plan = plan_group(order(profile(disks=(Disk(bus=Bus.SCSI),)), image=DISK, facts=NOT_GENERAL))
    assert {one.body["properties"]["networkAccessPolicy"] for one in of_type(plan, bodies.DISK)} == {"DenyAll"}


def test_an_nvme_controller_is_asked_for() -> None:
    plain = order(profile(disks=(Disk(bus=Bus.NVME),)))
    storage = machine_body(plan_group(placed(plain, controller=Controller.NVME)))["storageProfile"]
    assert storage["diskControllerType"] == "NVMe"
    assert storage["dataDisks"][0]["caching"] == "None"
    assert "diskControllerType" not in machine_body(plan_group(order()))["storageProfile"]


@pytest.mark.parametrize(
    ("placement", "wire"),
    [(Placement.CACHE, "CacheDisk"), (Placement.TEMPORARY, "ResourceDisk"), (Placement.NVME, "NvmeDisk")],
)
def test_a_disk_on_the_host_is_read_cached_and_says_where(placement: Placement, wire: str) -> None:
    disk = machine_body(plan_group(order(profile({"os_placement": placement}))))["storageProfile"]["osDisk"]
    assert disk["diffDiskSettings"] == {"option": "Local", "placement": wire}
    assert disk["caching"] == "ReadOnly"
    assert "managedDisk" not in disk


def test_a_disk_in_storage_is_of_the_kind_that_was_asked_for_and_goes_with_the_machine() -> None:
    disk = machine_body(plan_group(order(profile({"os_storage": Storage.STANDARD_SSD}))))["storageProfile"]["osDisk"]
    assert disk["managedDisk"] == {"storageAccountType": "StandardSSD_LRS"}
    assert (disk["caching"], disk["deleteOption"], disk["createOption"]) == ("ReadWrite", "Delete", "FromImage")
    assert "diffDiskSettings" not in disk


def test_a_zone_is_that_of_machine_and_disks() -> None:
    plain = order(profile({"zones": ("2",)}, disks=(Disk(bus=Bus.SCSI),)), image=DISK, facts=NOT_GENERAL)
    plan = plan_group(placed(plain, zone="2"))
    zoned = {one.type: one.body["zones"] for one in plan.resources if "zones" in one.body}
    assert zoned == {bodies.MACHINE: ["2"], bodies.DISK: ["2"]}


# ---- security ------------------------------------------------------------------------------------------------------


def test_a_plain_machine_says_nothing_of_security_unless_the_profile_does() -> None:
    assert "securityProfile" not in machine_body(plan_group(order()))
    said = machine_body(plan_group(order(profile({"security_type": SecurityType.STANDARD}))))
    assert said["securityProfile"] == {"securityType": "Standard"}


@pytest.mark.parametrize(("secure_boot", "tpm"), [(True, True), (False, True), (True, False)])
def test_trusted_launch_has_the_parts_that_the_profile_asks_for(secure_boot: bool, tpm: bool) -> None:
    found = machine_body(plan_group(order(profile(secure_boot=secure_boot, tpm=tpm))))["securityProfile"]
    assert found == {
        "securityType": "TrustedLaunch",
        "uefiSettings": {"secureBootEnabled": secure_boot, "vTpmEnabled": tpm},
    }


@pytest.mark.parametrize(
    ("encryption", "wire"),
    [
        (DiskEncryption.NONE, "NonPersistedTPM"),
        (DiskEncryption.STATE, "VMGuestStateOnly"),
        (DiskEncryption.DISK, "DiskWithVMGuestState"),
    ],
)
@pytest.mark.parametrize("kind", [Confidential.SEV_SNP, Confidential.TDX])
def test_a_confidential_machine_binds_of_its_disk_what_is_asked(
    encryption: DiskEncryption, wire: str, kind: Confidential
) -> None:
    asked = profile({"disk_encryption": encryption}, confidential=kind, tpm=True, secure_boot=True)
    body = machine_body(plan_group(order(asked)))
    assert body["securityProfile"]["securityType"] == "ConfidentialVM"
    assert body["storageProfile"]["osDisk"]["managedDisk"]["securityProfile"] == {"securityEncryptionType": wire}


@pytest.mark.parametrize("image", [DISK, BLOB, ManagedImage(subscription=SUBSCRIPTION, group="g", name="i")])
def test_a_confidential_machine_comes_from_a_gallery_or_the_marketplace_only(image: Any) -> None:
    asked = profile(confidential=Confidential.TDX, tpm=True)
    with pytest.raises(ProvisioningError, match="needs an image of a gallery"):
        plan_group(order(asked, image=image))


@pytest.mark.parametrize("asked", [{"tpm": True}, {"disks": (Disk(bus=Bus.NVME),)}])
def test_a_managed_image_gives_no_trusted_launch_and_no_nvme(asked: dict[str, Any]) -> None:
    plain = order(profile(**asked), image=ManagedImage(subscription=SUBSCRIPTION, group="g", name="i"))
    controller = Controller.NVME if "disks" in asked else Controller.SCSI
    with pytest.raises(ProvisioningError, match="a managed image gives no") as caught:
        plan_group(placed(plain, controller=controller))
    assert "Compute Gallery" in caught.value.hint


# ---- images --------------------------------------------------------------------------------------------------------


def test_latest_is_never_deployed() -> None:
    with pytest.raises(ProvisioningError, match="is no exact version"):
        plan_group(order(image=Marketplace(publisher="a", offer="b", sku="c")))


def test_an_image_that_is_sold_names_its_plan() -> None:
    purchase = Purchase(publisher="alma", product="almalinux", name="9-gen2")
    plan = plan_group(order(image=dataclasses.replace(order().image, purchase=purchase)))
    assert of_type(plan, bodies.MACHINE)[0].body["plan"] == {
        "publisher": "alma",
        "product": "almalinux",
        "name": "9-gen2",
    }


@pytest.mark.parametrize(
    ("image", "source"),
    [
        (DISK, {"managedDisk": {"id": str(DISK)}}),
        (BLOB, {"blobUri": BLOB.url, "storageAccountType": "Premium_LRS"}),
    ],
)
def test_a_generalized_disk_becomes_one_image_for_all_machines(image: Any, source: dict[str, Any]) -> None:
    plan = plan_group(order(profile(machines=2, firmware=Firmware.BIOS), image=image))
    made = of_type(plan, bodies.IMAGE)
    assert len(made) == 1
    found = made[0].body["properties"]
    assert found["hyperVGeneration"] == "V1"
    assert found["storageProfile"]["osDisk"] == {"osType": "Linux", "osState": "Generalized", **source}
    assert [machine_body(plan, number)["storageProfile"]["imageReference"] for number in (0, 1)] == [
        {"id": made[0].id},
        {"id": made[0].id},
    ]


@pytest.mark.parametrize(
    ("image", "source"),
    [
        (DISK, {"createOption": "Copy", "sourceResourceId": str(DISK)}),
        (BLOB, {"createOption": "Import", "sourceUri": BLOB.url, "storageAccountId": "/account"}),
    ],
)
def test_trusted_launch_from_a_disk_attaches_a_copy_to_each_machine(image: Any, source: dict[str, Any]) -> None:
    plan = plan_group(order(profile(machines=2, tpm=True), image=image))
    made = of_type(plan, bodies.DISK)
    assert [one.body["properties"]["creationData"] for one in made] == [source, source]
    is_marked = made[0].body["properties"].get("securityProfile") == {"securityType": "TrustedLaunch"}
    assert is_marked == (image is BLOB), "a copy has the security type of its source, and takes none"
    body = machine_body(plan, 1)
    assert body["storageProfile"]["osDisk"]["managedDisk"] == {"id": made[1].id}
    assert body["storageProfile"]["osDisk"]["createOption"] == "Attach"
    assert "imageReference" not in body["storageProfile"]
    assert "osProfile" not in body
    assert cloud_config(body["userData"])["ssh_keys"]["ed25519_private"] == "PRIVATE\n"


def test_a_copied_disk_says_for_which_processor_and_controller_it_is() -> None:
    asked = profile(arch=Arch.AARCH64, disks=(Disk(bus=Bus.NVME),))
    plan = plan_group(placed(order(asked, image=DISK), controller=Controller.NVME))
    os_disk = next(one for one in of_type(plan, bodies.DISK) if one.name == "m0-os")
    assert os_disk.body["properties"]["supportedCapabilities"] == {
        "acceleratedNetwork": True,
        "architecture": "Arm64",
        "diskControllerTypes": "SCSI, NVMe",
    }


@pytest.mark.parametrize(
    "azure", [{"os_placement": Placement.CACHE}, {"user_data": "role=web"}], ids=["ephemeral", "user data"]
)
def test_what_an_attached_disk_cannot_have_is_told_before_anything_is_made(azure: dict[str, Any]) -> None:
    with pytest.raises(ProvisioningError, match="a disk that is attached"):
        plan_group(order(profile(azure), image=DISK, facts=NOT_GENERAL))


# ---- the way in ----------------------------------------------------------------------------------------------------


def test_the_host_key_is_ours_and_goes_in_with_the_login_key() -> None:
    config = cloud_config(machine_body(plan_group(order()))["osProfile"]["customData"])
    assert config["ssh_keys"] == {"ed25519_private": "PRIVATE\n", "ed25519_public": "ssh-ed25519 HOST"}
    assert config["ssh_deletekeys"] is False
    assert plan_group(order()).machines[0].host_public == "ssh-ed25519 HOST"


@pytest.mark.parametrize("user", ["root", "admin", "Test1", "user5"])
def test_azure_makes_a_stand_in_for_users_that_it_refuses(user: str) -> None:
    found = machine_body(plan_group(order(access=Access(user=user))))["osProfile"]
    assert found["adminUsername"] == "lisaci"
    assert cloud_config(found["customData"])["users"][0]["name"] == user


def test_a_user_with_sudo_gets_it_and_no_password() -> None:
    found = machine_body(plan_group(order(access=Access(user="tester", become=Become.SUDO))))["osProfile"]
    assert found["adminUsername"] == "tester"
    assert found["linuxConfiguration"]["disablePasswordAuthentication"] is True
    assert found["linuxConfiguration"]["ssh"]["publicKeys"] == [
        {"path": "/home/tester/.ssh/authorized_keys", "keyData": "ssh-ed25519 LOGIN"}
    ]
    config = cloud_config(found["customData"])
    assert config["disable_root"] is True
    assert config["users"] == [
        {
            "name": "tester",
            "ssh_authorized_keys": ["ssh-ed25519 LOGIN"],
            "lock_passwd": True,
            "sudo": "ALL=(ALL) NOPASSWD:ALL",
        }
    ]


def test_user_data_of_the_profile_is_the_machines_user_data() -> None:
    body = machine_body(plan_group(order(profile({"user_data": "role=web"}))))
    assert base64.b64decode(body["userData"]) == b"role=web"


# ---- groups, spot, the rest ----------------------------------------------------------------------------------------


def test_a_pair_is_near_each_other_and_waits_for_what_keeps_it_so() -> None:
    plan = plan_group(order(profile({"proximity": True, "availability_set": True}, machines=2)))
    proximity, availability = of_type(plan, bodies.PROXIMITY_GROUP)[0], of_type(plan, bodies.AVAILABILITY_SET)[0]
    assert availability.body["properties"]["proximityPlacementGroup"] == {"id": proximity.id}
    assert availability.body["sku"] == {"name": "Aligned"}, "machines with managed disks are in no other"
    assert availability.body["properties"]["platformFaultDomainCount"] == 2
    for one in of_type(plan, bodies.MACHINE):
        assert one.body["properties"]["proximityPlacementGroup"] == {"id": proximity.id}
        assert one.body["properties"]["availabilitySet"] == {"id": availability.id}
        assert {proximity.id, availability.id} <= set(one.depends_on)


@pytest.mark.parametrize(
    ("spot", "expected"),
    [
        (Spot(), {"priority": "Spot", "evictionPolicy": "Delete", "billingProfile": {"maxPrice": -1}}),
        (
            Spot(max_price="0.0312", eviction=Eviction.DEALLOCATE),
            {"priority": "Spot", "evictionPolicy": "Deallocate", "billingProfile": {"maxPrice": 0.0312}},
        ),
    ],
)
def test_a_spot_machine_has_its_price_and_what_becomes_of_it(spot: Spot, expected: dict[str, Any]) -> None:
    body = machine_body(plan_group(order(profile({"spot": spot}))))
    assert {key: body[key] for key in expected} == expected
    assert "priority" not in machine_body(plan_group(order()))


@pytest.mark.parametrize("wanted", [True, False])
def test_boot_diagnostics_need_no_storage_of_ours(wanted: bool) -> None:
    body = machine_body(plan_group(order(profile({"boot_diagnostics": wanted}))))
    assert body["diagnosticsProfile"] == {"bootDiagnostics": {"enabled": wanted}}
