"""The double of Azure, asked what the examples of Azure's own API descriptions ask: every example of every operation
that it answers (tests/fixtures/azure/api-examples.json, written by tests/azure_examples.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from lisa_ci.platforms.azure import bodies
from tests.azure_examples import EXAMPLES_FILE, shape
from tests.doubles.azure.accounts import account
from tests.doubles.azure.arm import Arm, Stored
from tests.doubles.azure.entra import SUBSCRIPTION
from tests.doubles.azure.state import canonical
from tests.doubles.azure.wire import Answer, request_of
from tests.doubles.azure.world import FakeClock, checked, size_row

EXAMPLES: Final = json.loads(EXAMPLES_FILE.read_text().replace("SUBSCRIPTION", SUBSCRIPTION))["examples"]
BY_FILE: Final = {one["file"].rpartition("/")[2].removesuffix(".json"): one for one in EXAMPLES} | {
    f"{one['file'].rpartition('/')[2].removesuffix('.json')}-{one['path'].rpartition('/')[2]}": one
    for number, one in enumerate(EXAMPLES)
    if one["file"] in {other["file"] for other in EXAMPLES[number + 1 :]}
}
"""One file is the example of two operations."""
REFUSED: Final = {  # templates by a link: the double takes literal ones, as lisa-ci writes them
    "PutDeploymentResourceGroup": "InvalidTemplate",
    "PutDeploymentResourceGroupTemplateSpecsWithId": "InvalidTemplate",
    "PutDeploymentWithOnErrorDeploymentLastSuccessful": "InvalidTemplate",
    "PutDeploymentWithOnErrorDeploymentSpecificDeployment": "InvalidTemplate",
}
ACCOUNTS: Final = {"mystorageaccount": "https://mystorageaccount.blob.core.windows.net", "s": "s"}
"""Those whose blobs the examples name: in the region of whatever is made of one."""
GROUP: Final = "Microsoft.Resources/resourceGroups"
_ROOT: Final = re.compile(
    r"(/subscriptions/[^/]+)(?:/resource[gG]roups/([^/]+))?(?:/providers/([^/]+)/([^/]+)/([^/]+))?"
)


class World:
    """A double in which what an example speaks of is there."""

    def __init__(self, example: Mapping[str, Any]) -> None:
        self.clock = FakeClock()
        self.arm = Arm(now=self.clock.now, validate=checked)
        self.arm.skus = [size_row("Standard_D2s_v5", ("westus",))]
        self.example = example
        group, provider, kind, name = _parts(example["path"])
        self.name: str = name
        self.kind = canonical(f"{provider}/{kind}") if provider else GROUP if group else ""
        self.is_of_all = not group
        if group and (self.kind != GROUP or example["method"] != "PUT"):
            self.put_group(group)
        for id_ in ids(example.get("body")):
            self.seed(id_)

    def put_group(self, name: str) -> None:
        path = f"/subscriptions/{SUBSCRIPTION}/resourcegroups/{name}?api-version={bodies.RESOURCES_API}"
        assert self.ask("PUT", path, {"location": "westus"}).status in {200, 201}

    def seed(self, id_: str) -> None:
        """What a body refers to is there, and says nothing of itself."""
        group, provider, kind, name = _parts(id_)
        if group and provider and group.lower() not in self.arm.groups:
            self.put_group(group)
        if provider:
            whole = _resource(id_)
            type_ = canonical(f"{provider}/{kind}")
            subnets = [{"name": id_.rpartition("/")[2]}] if "/subnets/" in id_.lower() else []
            found = self.arm.resources.setdefault(
                whole.lower(), Stored(id=whole, type=type_, body={"location": "westus", "name": name})
            )
            found.properties.setdefault("subnets", []).extend(subnets)

    def make(self) -> None:
        """The resource that the example is about, put as another example puts it."""
        if self.kind in {"", GROUP}:
            return
        place = _resource(self.example["path"])
        first = next(one for one in EXAMPLES if one["method"] == "PUT" and _of(one) == self.kind)
        for id_ in ids(first["body"]):
            self.seed(id_)
        answer = self.ask("PUT", f"{place}?api-version={bodies.API[self.kind]}", first["body"])
        assert answer.status in {200, 201, 202}, answer.body
        self.clock.sleep(600)
        self.arm.settle()

    def ask(self, method: str, path: str, body: Any = None) -> Answer:
        region = body.get("location", "westus") if isinstance(body, dict) else "westus"
        self.arm.accounts = [account(name, url, region) for name, url in ACCOUNTS.items()]
        told = json.dumps(body).encode() if body is not None else b""
        return self.arm.serve(request_of(method, f"https://management.azure.com{path}", {}, told))

    def asked(self) -> Answer:
        version = bodies.API.get(self.kind, bodies.COMPUTE_API)
        query = "&".join([f"api-version={version}", *(f"{k}={v}" for k, v in self.example.get("query", {}).items())])
        return self.ask(self.example["method"], f"{self.example['path']}?{query}", self.example.get("body"))

    def followed(self, answer: Answer) -> Answer | None:
        """What the operation ends with: the resource, or what is at ``Location``; None where there is nothing."""
        link = answer.headers.get("Azure-AsyncOperation", "")
        assert link or answer.headers.get("Location"), f"{answer.status} and nothing to follow"
        self.clock.sleep(600)
        if link:
            told = self.ask("GET", link.removeprefix("https://management.azure.com")).body
            assert told["status"] == "Succeeded", told
        if self.example["method"] in {"PUT", "PATCH"}:
            version = bodies.API[self.kind]
            return self.ask("GET", f"{self.example['path']}?api-version={version}")
        where = answer.headers.get("Location", "").removeprefix("https://management.azure.com")
        return self.ask("GET", where) if self.example["method"] == "POST" else None


def ids(value: Any) -> Iterator[str]:
    """Every id of a resource in a body."""
    match value:
        case dict():
            for one in value.values():
                yield from ids(one)
        case list():
            for one in value:
                yield from ids(one)
        case str() if value.startswith("/subscriptions/"):
            yield value


def _resource(place: str) -> str:
    """The id without what lies inside of the resource, or is done to it."""
    return "/".join(place.split("/")[:9])


def _parts(place: str) -> tuple[str, str, str, str]:
    """Group, provider, kind and name; '' where the place has none."""
    found = _ROOT.match(place)
    assert found is not None, place
    group, provider, kind, name = found.groups(default="")[1:]
    return group, provider, kind, name


def _of(example: Mapping[str, Any]) -> str:
    """The type that an example is about, or what is done to one."""
    group, provider, kind, _ = _parts(example["path"])
    more = example["path"].split("/")[9:]
    return more[0] if more else canonical(f"{provider}/{kind}") if group and provider else GROUP


def kinds_differ(told: Any, wanted: Any, place: str = "") -> Iterator[str]:
    """Where both say something, they say the same kind of thing."""
    if isinstance(told, dict) and isinstance(wanted, dict):
        for key in told.keys() & wanted.keys():
            yield from kinds_differ(told[key], wanted[key], f"{place}/{key}")
    elif isinstance(told, list) and isinstance(wanted, list):
        for one, other in zip(told, wanted, strict=False):
            yield from kinds_differ(one, other, f"{place}/*")
    elif type(told) is not type(wanted) or (isinstance(told, str) and told != wanted):
        yield f"{place}: {told!r}, not {wanted!r}"


def missing(told: Any, wanted: Any, place: str = "") -> Iterator[str]:
    """What the API tells and the double does not."""
    if isinstance(told, dict) and isinstance(wanted, dict):
        for key, value in wanted.items():
            if key in told:
                yield from missing(told[key], value, f"{place}/{key}")
            else:
                yield f"{place}/{key}"
    elif isinstance(told, list) and isinstance(wanted, list):
        for one, other in zip(told, wanted, strict=False):
            yield from missing(one, other, f"{place}/*")


def final(example: Mapping[str, Any]) -> tuple[World, Answer, Answer | None]:
    world = World(example)
    if example["method"] != "PUT" and not world.is_of_all:
        world.make()
    answer = world.asked()
    is_long = answer.status == 202 or "Azure-AsyncOperation" in answer.headers
    return world, answer, world.followed(answer) if is_long else answer


ACCEPTED: Final = [name for name in BY_FILE if name not in REFUSED]


@pytest.mark.parametrize("name", ACCEPTED)
def test_an_example_is_taken_and_answered_as_the_description_says(name: str) -> None:
    example = BY_FILE[name]
    _, answer, ended = final(example)
    assert str(answer.status) in example["answers"], (answer.status, answer.body, list(example["answers"]))
    assert example["is_long"] or answer.status != 202
    wanted = example["answers"].get("200")
    if isinstance(wanted, dict):
        assert ended is not None
        assert ended.status in {200, 201}
        assert list(kinds_differ(shape(ended.body), wanted)) == []


@pytest.mark.parametrize(("name", "code"), REFUSED.items())
def test_an_example_of_what_the_double_does_not_do_is_refused_in_words(name: str, code: str) -> None:
    answer = World(BY_FILE[name]).asked()
    assert (answer.status, answer.body["error"]["code"]) == (400, code)


UNTOLD: Final[Mapping[str, frozenset[str]]] = {
    "Microsoft.Compute/images": frozenset({"/properties/storageProfile"}),
    "attachDetachDataDisks": frozenset(
        {
            "/dataDisks/*/deleteOption",
            "/dataDisks/*/diskSizeGB",
            "/dataDisks/*/managedDisk/diskEncryptionSet",
            "/dataDisks/*/managedDisk/storageAccountType",
            "/dataDisks/*/name",
            "/dataDisks/*/writeAcceleratorEnabled",
            "/imageReference",
            "/osDisk/managedDisk/storageAccountType",
        }
    ),
    "Microsoft.Compute/virtualMachines": frozenset(
        {
            "/properties/networkProfile/networkInterfaces",
            "/properties/osProfile/linuxConfiguration",
            "/properties/osProfile/windowsConfiguration",
            "/properties/storageProfile/dataDisks/*/managedDisk/storageAccountType",
        }
    ),
    "beginGetAccess": frozenset({"/securityDataAccessSAS"}),
    "Microsoft.Compute/disks": frozenset(
        {"/properties/hyperVGeneration", "/properties/purchasePlan", "/properties/supportedCapabilities"}
    ),
    "Microsoft.Network/natGateways": frozenset({"/properties/subnets"}),
    "Microsoft.Network/networkSecurityGroups": frozenset({"/properties/flushConnection"}),
    "Microsoft.Network/publicIPAddresses": frozenset(
        {"/properties/ddosSettings", "/properties/dnsSettings/fqdn", "/properties/ipConfiguration", "/sku", "/zones"}
    ),
    "Microsoft.Network/virtualNetworks": frozenset(
        {
            "/properties/bgpCommunities/regionalCommunity",
            "/properties/subnets/*/properties/delegations/*/id",
            "/properties/subnets/*/properties/delegations/*/properties/actions",
            "/properties/subnets/*/properties/delegations/*/properties/provisioningState",
            "/properties/subnets/*/properties/ipConfigurations",
            "/properties/subnets/*/properties/purpose",
            "/properties/subnets/*/properties/resourceNavigationLinks",
        }
    ),
}
"""What the API's examples tell after a request, and the double does not: lisa-ci reads none of it."""


def test_what_the_double_keeps_to_itself_is_known_and_nothing_else() -> None:
    found: dict[str, set[str]] = {}
    for name in ACCEPTED:
        example = BY_FILE[name]
        wanted = example["answers"].get("200")
        if example["method"] in {"PUT", "POST"} and isinstance(wanted, dict):
            _, _, ended = final(example)
            assert ended is not None
            found.setdefault(_of(example), set()).update(missing(shape(ended.body), wanted))
    assert {kind: places for kind, places in found.items() if places} == UNTOLD


def test_what_nobody_may_read_back_is_never_told() -> None:
    world, _, ended = final(BY_FILE["VirtualMachine_Create_WithUserData"])
    assert ended is not None
    machine = next(one for one in world.arm.resources.values() if one.name == world.name)
    assert machine.properties["osProfile"]["adminPassword"]
    assert "adminPassword" not in ended.body["properties"]["osProfile"]
    assert "userData" not in ended.body["properties"]
    asked = world.ask("GET", f"{world.example['path']}?api-version={bodies.COMPUTE_API}&$expand=userData")
    assert asked.body["properties"]["userData"] == machine.properties["userData"]


@pytest.mark.parametrize(
    ("name", "spoil", "code"),
    [
        ("VirtualMachine_Create_WithSshAuthentication", ("hardwareProfil", {}), "InvalidRequestContent"),
        ("Disk_Create_UploadDisk", ("diskState", "Unattached"), "InvalidRequestContent"),
        ("NetworkInterfaceCreate", ("ipConfigurations", [{"nam": "x"}]), "InvalidRequestContent"),
        ("Disk_Update_ChangeTier", ("teir", "P30"), "InvalidRequestContent"),
    ],
)
def test_an_example_with_one_key_wrong_is_refused(name: str, spoil: tuple[str, Any], code: str) -> None:
    example = json.loads(json.dumps(BY_FILE[name]))
    example["body"]["properties"][spoil[0]] = spoil[1]
    world = World(example)
    if example["method"] == "PATCH":
        world.make()
    answer = world.asked()
    assert (answer.status, answer.body["error"]["code"]) == (400, code)


@pytest.mark.parametrize(
    ("name", "body", "why"),
    [
        ("Disk_BeginGetAccess", {"access": "Write", "durationInSecond": 60}, "durationInSeconds is missing"),
        ("VirtualMachineRunCommand", {"commandId": "RunShellScript", "scripts": []}, "no such property scripts"),
        (
            "VirtualMachine_AttachDetachDataDisks_MinimumSet_Gen",
            {"dataDisksToAttach": [{"lun": 1}]},
            "diskId is missing",
        ),
    ],
)
def test_an_action_with_one_key_wrong_is_refused(name: str, body: dict[str, Any], why: str) -> None:
    world = World({**BY_FILE[name], "body": body})
    world.make()
    answer = world.asked()
    assert (answer.status, answer.body["error"]["code"]) == (400, "InvalidRequestContent")
    assert why in answer.body["error"]["message"]


def test_a_nic_in_a_subnet_that_is_not_there_is_refused() -> None:
    world = World({**BY_FILE["NetworkInterfaceCreate"], "body": None})
    world.example = BY_FILE["NetworkInterfaceCreate"]
    answer = world.asked()
    assert (answer.status, answer.body["error"]["code"]) == (400, "InvalidResourceReference")


def test_every_example_is_played() -> None:
    assert len(BY_FILE) == len(EXAMPLES)
