from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from lisa_ci.errors import PipelineError
from lisa_ci.model import Azure, Eviction, Profile, Spot, azure_contradictions, contradictions, is_id
from lisa_ci.pipeline import Known, all_profiles, azure_catalogue, catalogue, parse_pipeline
from tests.doubles.pipelines import THREE_CASES, write_suite

KNOWN = Known(platforms=frozenset({"qemu", "ssh", "azure"}), drivers=frozenset({"shell"}), scenarios=frozenset())
PIPELINE = """\
name: mine
image: {{path: image.qcow2}}
profiles:
  - {profile}
suites: [mine]
"""


def profile_of(folder: Path, text: str) -> Profile:
    write_suite(folder / "mine", THREE_CASES)
    data = PIPELINE.format(profile=text).replace("suites: [mine]", "suites: [./mine]").encode()
    return parse_pipeline(data, "lisa-ci.yml", folder, KNOWN).profiles[0]


def problems_of(folder: Path, text: str) -> list[str]:
    with pytest.raises(PipelineError) as caught:
        profile_of(folder, text)
    return [problem.message for problem in caught.value.problems]


def test_there_is_a_profile_for_each_kind_of_machine() -> None:
    found = azure_catalogue()
    assert {
        "azure-intel",
        "azure-amd",
        "azure-arm64",
        "azure-queues",
        "azure-local-nvme",
        "azure-nvme",
        "azure-pair",
        "azure-infiniband-hb",
        "azure-infiniband-hc",
        "azure-infiniband-nd",
        "azure-gpu-nc",
        "azure-gpu-nd",
        "azure-gpu-nv",
        "azure-fpga",
        "azure-snp",
        "azure-tdx",
        "azure-trusted-launch",
        "azure-big-memory",
    } <= set(found)
    assert not set(found) & set(catalogue())
    assert list(all_profiles()) == [*catalogue(), *found]


@pytest.mark.parametrize("name", azure_catalogue())
def test_a_profile_for_azure_is_described_and_contradicts_nothing(name: str) -> None:
    profile = azure_catalogue()[name]
    assert is_id(name)
    assert profile.description.endswith(".")
    assert profile.platform == "azure"
    assert (*contradictions(profile), *azure_contradictions(profile)) == ()


def test_profiles_for_azure_differ_from_each_other() -> None:
    shapes = [dataclasses.replace(profile, name="", description="") for profile in azure_catalogue().values()]
    assert len(set(shapes)) == len(shapes)


def test_capabilities_say_what_the_machines_have() -> None:
    words = {name: profile.capabilities for name, profile in azure_catalogue().items()}
    assert words["azure-fpga"]["fpgas"] == 1
    assert words["azure-infiniband-nd"]["gpus"] == 8
    assert words["azure-infiniband-hb"]["rdma"] is True
    assert words["azure-infiniband-hb"]["machines"] == 2
    assert words["azure-pair"]["links"] == 1
    assert words["azure-queues"]["nic_queues"] == 8
    assert (words["azure-snp"]["confidential"], words["azure-tdx"]["confidential"]) == ("sev-snp", "tdx")
    assert (words["azure-trusted-launch"]["tpm"], words["azure-trusted-launch"]["secure_boot"]) == (True, True)
    assert words["azure-arm64"]["arch"] == "aarch64"


def test_an_nvme_disk_that_the_size_brings_is_a_disk() -> None:
    words = azure_catalogue()["azure-local-nvme"].capabilities
    assert (words["disks"], words["disk_nvme"], words["nvme_namespaces"]) == (1, 1, 1)


def test_names_and_addresses_of_azures_devices_are_not_ours() -> None:
    assert not azure_catalogue()["azure-intel"].names_devices
    assert catalogue()["bios"].names_devices


def test_the_file_may_say_everything(tmp_path: Path) -> None:
    found = profile_of(
        tmp_path,
        "{name: x, platform: azure, firmware: uefi, azure: {sizes: [Standard_D2s_v5], regions: [westeurope], zones: "
        "['1'], spot: {max_price: '0.05', eviction: deallocate}, accelerated_networking: [false], outbound: nat}}",
    )
    assert found.azure is not None
    assert found.azure.sizes == ("Standard_D2s_v5",)
    assert found.azure.zones == ("1",)
    assert found.azure.spot == Spot(max_price="0.05", eviction=Eviction.DEALLOCATE)
    assert found.azure.accelerated_networking == (False,)


def test_keys_of_azure_replace_those_of_the_profile_that_is_built_on_one_by_one(tmp_path: Path) -> None:
    found = profile_of(tmp_path, "{name: x, from: azure-pair, azure: {regions: [eastus]}}")
    start = azure_catalogue()["azure-pair"].azure
    assert start is not None
    assert found.azure == dataclasses.replace(start, regions=("eastus",))
    assert found.machines == 2


def test_a_catalogue_name_is_enough(tmp_path: Path) -> None:
    assert profile_of(tmp_path, "azure-snp") == azure_catalogue()["azure-snp"]


BASE = "name: x, from: azure-intel"
WHOLE = "confidential: tdx, tpm: true, secure_boot: true"
PAIR = "machines: 2, disks: [{bus: scsi}]"


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("{name: x, platform: azure}", "platform 'azure' needs 'azure.sizes', exact names such as Standard_D2s_v5"),
        (f"{{{BASE}, platform: qemu}}", "'azure' needs 'platform: azure'"),
        (f"{{{BASE}, numa_nodes: 2}}", "on Azure the size decides on 'numa_nodes'"),
        (f"{{{BASE}, hotplug: true}}", "'hotplug' promises room for processors and memory"),
        (f"{{{BASE}, disks: [{{bus: virtio}}]}}", "Azure's disks are on 'bus: scsi' or 'bus: nvme'"),
        (f"{{{BASE}, disks: [{{bus: nvme, namespaces: 2}}]}}", "Azure's disks have no 'namespaces' and 'queues'"),
        (f"{{{BASE}, disks: [{{bus: nvme}}, {{bus: scsi}}]}}", "Azure puts all data disks on one bus"),
        (f"{{{BASE}, nics: [{{model: e1000e}}]}}", "Azure decides on the 'model' of a NIC"),
        (f"{{{BASE}, nics: [{{outbound: true}}]}}", "a NIC with 'outbound' needs 'azure.outbound: nat'"),
        (f"{{{BASE}, firmware: bios, tpm: true}}", "'security_type: trusted-launch' needs 'firmware: uefi'"),
        (f"{{{BASE}, firmware: bios, disks: [{{bus: nvme}}]}}", "an NVMe controller need 'firmware: uefi'"),
        (f"{{{BASE}, tpm: true, azure: {{security_type: standard}}}}", "'tpm' and 'secure_boot' need 'security_type:"),
        (f"{{{BASE}, confidential: tdx}}", "a confidential machine on Azure has a TPM: say 'tpm: true'"),
        (f"{{{BASE}, azure: {{security_type: confidential}}}}", "'security_type: confidential' needs 'confidential:"),
        (
            f"{{{BASE}, confidential: tdx, tpm: true, azure: {{security_type: trusted-launch}}}}",
            "'confidential: tdx' needs 'security_type: confidential'",
        ),
        (
            f"{{{BASE}, confidential: tdx, tpm: true, azure: {{disk_encryption: disk}}}}",
            "'disk_encryption: disk' needs 'secure_boot: true'",
        ),
        (
            f"{{{BASE}, {WHOLE}, azure: {{disk_encryption: disk, os_placement: cache}}}}",
            "'disk_encryption: disk' needs 'os_placement: managed'",
        ),
        (f"{{{BASE}, azure: {{disk_encryption: disk}}}}", "'disk_encryption' is only for 'confidential' machines"),
        (
            f"{{{BASE}, disks: [{{bus: scsi}}], azure: {{controller: nvme}}}}",
            "'controller: nvme' does not give disks on 'bus: scsi'",
        ),
        (f"{{{BASE}, azure: {{data_storage: [ultra]}}}}", "'data_storage' has 1 entries for 0 disks"),
        (
            f"{{{BASE}, azure: {{accelerated_networking: [true, false]}}}}",
            "'accelerated_networking' has 2 entries for 1 NICs",
        ),
        (
            f"{{{BASE}, azure: {{os_placement: cache, spot: {{eviction: deallocate}}}}}}",
            "a machine with its disk on the host cannot be deallocated",
        ),
        (
            f"{{{BASE}, machines: 2, azure: {{availability_set: true, zones: ['1']}}}}",
            "in an 'availability_set' or in one of the 'zones', not both",
        ),
        (
            f"{{{BASE}, machines: 2, azure: {{availability_set: true, spot: {{}}}}}}",
            "a 'spot' machine cannot be in an 'availability_set'",
        ),
        (f"{{{BASE}, azure: {{proximity: true}}}}", "'proximity' and 'availability_set' need 'machines: 2'"),
        (
            f"{{{BASE}, {PAIR}, azure: {{availability_set: true, data_storage: [premium-v2]}}}}",
            "'data_storage: premium-v2' and 'availability_set' exclude each other",
        ),
    ],
)
def test_what_azure_cannot_give_at_once_is_told_with_the_profile(tmp_path: Path, keys: str, problem: str) -> None:
    found = problems_of(tmp_path, keys)
    assert any("profile 'x': " in one and problem in one for one in found), found


@pytest.mark.parametrize(
    ("azure", "problem"),
    [
        ("sizes: [D2s_v5]", "'sizes' must be an exact size such as Standard_D2s_v5, not 'D2s_v5'"),
        ("sizes: ['Standard_D*']", "'sizes' must be an exact size"),
        ("sizes: []", "'sizes' has 0 entries"),
        ("sizes: [Standard_D2s_v5, Standard_D2s_v5]", "'Standard_D2s_v5' is in 'sizes' twice"),
        ("regions: [West Europe]", "'regions' must be a region such as westeurope"),
        ("zones: ['4']", "'zones' must be one of 1, 2, 3"),
        ("spot: {max_price: 0.05}", "'max_price' must be US dollars an hour"),
        ("spot: {max_price: '0.00'}", "'max_price' must be US dollars an hour"),
        ("spot: {max_price: '-1'}", "'max_price' must be US dollars an hour"),
        ("os_storage: ultra", "'os_storage' must be one of standard-hdd, standard-ssd, premium-ssd"),
        ("size: Standard_D2s_v5", "unknown key 'size'"),
        ("local_nvme: 99", "'local_nvme' must be a whole number from 0 to 16"),
    ],
)
def test_a_wrong_value_is_told_with_its_key(tmp_path: Path, azure: str, problem: str) -> None:
    found = problems_of(tmp_path, f"{{{BASE}, azure: {{{azure}}}}}")
    assert any(problem in one for one in found), found


def test_a_profile_of_another_platform_has_no_section_of_azure() -> None:
    odd = Profile(name="x", azure=Azure(sizes=("Standard_D2s_v5",), regions=("westeurope",)))
    assert list(azure_contradictions(odd)) == ["'azure' needs 'platform: azure'"]
    assert list(azure_contradictions(Profile(name="x"))) == []
