"""What Azure tells of a resource beside what was put: what it made up itself, and what it never gives back.

Which keys these are is as in the examples of the API (tests/unit/platforms/azure/test_examples.py).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any, Final

from tests.doubles.azure.state import ADDRESS, DISK, NIC, VM, State, Stored

_NETWORK: Final = "Microsoft.Network/virtualNetworks"
_RULES: Final = "Microsoft.Network/networkSecurityGroups"
_GATEWAY: Final = "Microsoft.Network/natGateways"
_IMAGE: Final = "Microsoft.Compute/images"
_RESERVED: Final = 4  # the first addresses of a subnet are Azure's own
_DEFAULT_RULES: Final = (
    ("AllowVnetInBound", 65000, "Inbound", "Allow", "VirtualNetwork", "VirtualNetwork"),
    ("AllowAzureLoadBalancerInBound", 65001, "Inbound", "Allow", "AzureLoadBalancer", "*"),
    ("DenyAllInBound", 65500, "Inbound", "Deny", "*", "*"),
    ("AllowVnetOutBound", 65000, "Outbound", "Allow", "VirtualNetwork", "VirtualNetwork"),
    ("AllowInternetOutBound", 65001, "Outbound", "Allow", "*", "Internet"),
    ("DenyAllOutBound", 65500, "Outbound", "Deny", "*", "*"),
)


def told(state: State, stored: Stored, *, expand: str = "") -> dict[str, Any]:
    """The body of an answer. ``expand``: of a machine, ``userData`` is told only where it was asked for."""
    body = deepcopy(stored.body)
    properties = body.setdefault("properties", {})
    more: Mapping[str, Callable[[], None]] = {
        VM: lambda: _machine(state, properties, expand),
        DISK: lambda: _disk(state, body, properties),
        NIC: lambda: _nic(stored, properties),
        ADDRESS: lambda: _address(state, stored, properties),
        _GATEWAY: lambda: _gateway(state, stored, properties),
        _IMAGE: lambda: _image(properties),
        _NETWORK: lambda: _network(stored, properties),
        _RULES: lambda: _rules(stored, properties),
    }
    if stored.type in more:
        more[stored.type]()
    return body


def with_addresses(state: State, stored: Stored) -> None:
    """A NIC gets an address of its subnet for each of its configurations, and keeps it."""
    used = {
        one["properties"].get("privateIPAddress")
        for other in state.resources.values()
        if other.type == NIC
        for one in other.properties.get("ipConfigurations", ())
    }
    for one in stored.properties.get("ipConfigurations", ()):
        said = one["properties"]
        if "privateIPAddress" not in said and "subnet" in said:
            hosts = [str(host) for host in _prefix(state, said["subnet"]["id"]).hosts()][_RESERVED - 1 :]
            said["privateIPAddress"] = next(host for host in hosts if host not in used)
            used.add(said["privateIPAddress"])


def _prefix(state: State, subnet_id: str) -> ipaddress.IPv4Network:
    network, _, name = subnet_id.rpartition("/subnets/")
    found = state.resources.get(network.lower())
    for subnet in found.properties.get("subnets", ()) if found else ():
        if subnet.get("name", "").lower() == name.lower():
            prefix = subnet.get("properties", {}).get("addressPrefix", "")
            if prefix:
                return ipaddress.IPv4Network(prefix)
    return ipaddress.IPv4Network("10.0.0.0/24")


def _machine(state: State, properties: dict[str, Any], expand: str) -> None:
    system = properties.get("osProfile")
    if system is not None:
        for secret in ("adminPassword", "customData"):
            system.pop(secret, None)
        system.setdefault("secrets", [])
    if "userData" not in expand:
        properties.pop("userData", None)
    storage = properties.setdefault("storageProfile", {})
    storage.setdefault("dataDisks", [])
    storage.setdefault("osDisk", {}).setdefault("osType", "Linux")
    for disk in (storage["osDisk"], *storage["dataDisks"]):
        place = disk.get("managedDisk", {}).get("id", "").lower()
        size = state.resources[place].properties.get("diskSizeGB") if place in state.resources else None
        disk.setdefault("caching", "None")
        if size is not None:
            disk.setdefault("diskSizeGB", size)
    properties["timeCreated"] = state.stamp()


def _disk(state: State, body: dict[str, Any], properties: dict[str, Any]) -> None:
    sku = body.setdefault("sku", {"name": "Standard_LRS"})
    sku.setdefault("tier", "Premium" if str(sku.get("name", "")).startswith("Premium") else "Standard")
    properties.setdefault("encryption", {"type": "EncryptionAtRestWithPlatformKey"})
    properties.setdefault("publicNetworkAccess", "Enabled")
    properties["timeCreated"] = state.stamp()


def _image(properties: dict[str, Any]) -> None:
    storage = properties.get("storageProfile")
    if storage is not None:
        storage.setdefault("osDisk", {}).setdefault("caching", "None")
        storage.setdefault("dataDisks", [])


def _nic(stored: Stored, properties: dict[str, Any]) -> None:
    for number, one in enumerate(properties.get("ipConfigurations", ())):
        one["id"] = f"{stored.id}/ipConfigurations/{one['name']}"
        said = one["properties"]
        said.setdefault("provisioningState", "Succeeded")
        said.setdefault("privateIPAllocationMethod", "Dynamic")
        said.setdefault("privateIPAddressVersion", "IPv4")
        said.setdefault("primary", number == 0)
    properties.setdefault("dnsSettings", {"dnsServers": [], "appliedDnsServers": []})
    properties["dnsSettings"].setdefault("internalDomainNameSuffix", "double.bx.internal.cloudapp.net")
    properties.setdefault("enableIPForwarding", False)
    properties.setdefault("vnetEncryptionSupported", False)
    if "virtualMachine" in properties:
        properties.setdefault("primary", True)


def _address(state: State, stored: Stored, properties: dict[str, Any]) -> None:
    properties.setdefault("publicIPAddressVersion", "IPv4")
    properties.setdefault("publicIPAllocationMethod", "Dynamic")
    properties.setdefault("idleTimeoutInMinutes", 4)
    for nic in state.resources.values():
        for one in nic.properties.get("ipConfigurations", ()) if nic.type == NIC else ():
            if one["properties"].get("publicIPAddress", {}).get("id", "").lower() == stored.id.lower():
                properties["ipConfiguration"] = {"id": f"{nic.id}/ipConfigurations/{one['name']}"}


def _gateway(state: State, stored: Stored, properties: dict[str, Any]) -> None:
    properties.setdefault("idleTimeoutInMinutes", 4)
    users = [
        {"id": f"{network.id}/subnets/{subnet['name']}"}
        for network in state.resources.values()
        if network.type == _NETWORK
        for subnet in network.properties.get("subnets", ())
        if subnet.get("properties", {}).get("natGateway", {}).get("id", "").lower() == stored.id.lower()
    ]
    if users:
        properties["subnets"] = users


def _network(stored: Stored, properties: dict[str, Any]) -> None:
    properties.setdefault("virtualNetworkPeerings", [])
    for subnet in properties.setdefault("subnets", []):
        subnet["id"] = f"{stored.id}/subnets/{subnet['name']}"
        said = subnet.setdefault("properties", {})
        said["provisioningState"] = "Succeeded"
        for one in said.get("serviceEndpoints", ()):
            one["provisioningState"] = "Succeeded"
            one.setdefault("locations", ["*"])


def _rules(stored: Stored, properties: dict[str, Any]) -> None:
    for one in properties.setdefault("securityRules", []):
        one["id"] = f"{stored.id}/securityRules/{one['name']}"
        one["properties"]["provisioningState"] = "Succeeded"
    properties["defaultSecurityRules"] = [
        {
            "name": name,
            "id": f"{stored.id}/defaultSecurityRules/{name}",
            "properties": {
                "provisioningState": "Succeeded",
                "description": name,
                "protocol": "*",
                "sourcePortRange": "*",
                "destinationPortRange": "*",
                "sourceAddressPrefix": source,
                "destinationAddressPrefix": target,
                "access": access,
                "priority": priority,
                "direction": direction,
            },
        }
        for name, priority, direction, access, source, target in _DEFAULT_RULES
    ]
