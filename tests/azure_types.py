"""The types of Azure's API that ``lisa-ci azure check`` ships: what our resources can say, and nothing else.

``python -m tests.azure_types CLONE`` writes them anew from a clone of github.com/Azure/bicep-types-az.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from lisa_ci.platforms.azure import bodies
from lisa_ci.platforms.azure.typed import TYPES_FILE

SOURCES: Final = {
    "compute_1/microsoft.compute/2026-04-01": (
        bodies.MACHINE,
        bodies.AVAILABILITY_SET,
        bodies.PROXIMITY_GROUP,
        bodies.IMAGE,
    ),
    "compute_1/microsoft.compute/2026-03-02": (bodies.DISK,),
    "network/microsoft.network/2025-09-01": (
        bodies.NETWORK,
        bodies.SECURITY_GROUP,
        bodies.ADDRESS,
        bodies.GATEWAY,
        bodies.NIC,
    ),
    "resources_11/microsoft.resources/2025-04-01": (bodies.GROUP,),
    "resources_7/microsoft.resources/2025-04-01": (bodies.DEPLOYMENT,),
}
_READ_ONLY: Final = 2
_NOTE: Final = (
    "From github.com/Azure/bicep-types-az at 1f896de2db966ad91e8f7d7d981e11d32e4f5d8d (2026-08-20), MIT License, "
    "Copyright (c) Microsoft Corporation; cut to the resources that lisa-ci makes, by tests/azure_types.py."
)


def collected(clone: Path) -> dict[str, Any]:
    """All of SOURCES in one list of types, each reachable from one of the resources."""
    types: list[Any] = []
    resources: dict[str, int] = {}
    for folder, names in SOURCES.items():
        source = json.loads((clone / "generated" / folder / "types.json").read_text())
        _Copy(source, types).take(names, folder.rpartition("/")[2], resources)
    return {"source": _NOTE, "resources": resources, "types": types}


class _Copy:
    def __init__(self, source: list[dict[str, Any]], types: list[Any]) -> None:
        self._source = source
        self._types = types
        self._new: dict[int, int] = {}

    def take(self, names: tuple[str, ...], version: str, resources: dict[str, int]) -> None:
        wanted = {f"{name}@{version}".lower(): name for name in names}
        for entry in self._source:
            if entry["$type"] == "ResourceType" and entry["name"].lower() in wanted:
                resources[f"{wanted.pop(entry['name'].lower())}@{version}"] = self._number(entry["body"])
        if wanted:
            raise SystemExit(f"not found: {', '.join(wanted)}")

    def _number(self, reference: Mapping[str, str]) -> int:
        old = int(reference["$ref"].rpartition("/")[2])
        if old not in self._new:
            self._new[old] = len(self._types)
            self._types.append(None)
            self._types[self._new[old]] = self._reduced(self._source[old])
        return self._new[old]

    def _reduced(self, entry: dict[str, Any]) -> dict[str, Any]:
        kind = entry["$type"]
        match kind:
            case "ObjectType":
                properties = {name: self._property(said) for name, said in entry["properties"].items()}
                more = entry.get("additionalProperties")
                return {"is": kind, "properties": properties, **({"more": self._number(more)} if more else {})}
            case "ArrayType":
                limits = {name: entry[name] for name in ("minLength", "maxLength") if name in entry}
                return {"is": kind, "item": self._number(entry["itemType"]), **limits}
            case "UnionType":
                return {"is": kind, "of": [self._number(one) for one in entry["elements"]]}
            case "StringLiteralType":
                return {"is": kind, "value": entry["value"]}
            case "StringType" | "IntegerType":
                limits = ("minLength", "maxLength", "pattern", "minValue", "maxValue")
                return {"is": kind, **{name: entry[name] for name in limits if name in entry}}
            case "BooleanType" | "AnyType" | "NullType":
                return {"is": kind}
            case _:
                raise SystemExit(f"no rule for {kind}")

    def _property(self, said: Mapping[str, Any]) -> list[int]:
        """Type and flags; of what only Azure writes, the flags are enough."""
        flags = said.get("flags", 0)
        return [-1 if flags & _READ_ONLY else self._number(said["type"]), flags]


def main() -> None:
    TYPES_FILE.parent.mkdir(exist_ok=True)
    lines = json.dumps(collected(Path(sys.argv[1])), separators=(",", ":"), sort_keys=True)
    TYPES_FILE.write_text(lines.replace('},{"is"', '},\n{"is"') + "\n")


if __name__ == "__main__":
    main()
