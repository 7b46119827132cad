"""The examples beside Azure's API descriptions, of the operations that the double of Azure answers.

``python -m tests.azure_examples CLONE`` writes them anew from a clone of github.com/Azure/azure-rest-api-specs: each
request as it is, and of each answer its shape, without values.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

EXAMPLES_FILE: Final = Path(__file__).parent / "fixtures/azure/api-examples.json"
SUBSCRIPTION: Final = "SUBSCRIPTION"
_NOTE: Final = (
    "Examples beside Azure's API descriptions, from kairu-ms/azure-rest-api-specs at "
    "6664d3ef03cdbaaa8d8a496d098985f89b52fc0f (a fork of Azure/azure-rest-api-specs, 2024-10-30), MIT License, "
    "Copyright (c) Microsoft Corporation; 'file' is below 'specification'. Of answers only the shape is kept: s text, "
    "n number, b true or false, 0 null."
)
_GROUP: Final = r"/subscriptions/\{[^}]+\}/resource[gG]roups/\{[^}]+\}"
_COMPUTE: Final = rf"{_GROUP}/providers/Microsoft.Compute/(?:virtualMachines|disks|images)/\{{[^}}]+\}}"
_NETS: Final = "virtualNetworks|networkSecurityGroups|publicIPAddresses|natGateways|networkInterfaces"
_DOES: Final = (
    "instanceView|start|powerOff|deallocate|restart|redeploy|simulateEviction|runCommand|attachDetachDataDisks|"
    "retrieveBootDiagnosticsData|beginGetAccess|endGetAccess"
)
ANSWERED: Final = {
    "PUT GET DELETE PATCH": (_COMPUTE,),
    "PUT GET DELETE": (rf"{_GROUP}/providers/Microsoft\.Network/(?:{_NETS})/\{{[^}}]+\}}",),
    "GET POST": (rf"{_COMPUTE}/(?:{_DOES})",),
    "PUT DELETE GET HEAD": (
        r"/subscriptions/\{[^}]+\}/resourcegroups/\{[^}]+\}",
        rf"{_GROUP}/providers/Microsoft\.Resources/deployments/\{{[^}}]+\}}",
    ),
    "GET": (
        r"/subscriptions/\{[^}]+\}/providers/Microsoft\.Compute/skus",
        r"/subscriptions/\{[^}]+\}/providers/Microsoft\.Compute/locations/\{[^}]+\}/usages",
        r"/subscriptions/\{[^}]+\}/resourcegroups",
    ),
}
"""Methods -> patterns of paths."""


def is_answered(method: str, path: str) -> bool:
    return any(
        method in methods.split() and re.fullmatch(pattern, path, re.IGNORECASE)
        for methods, patterns in ANSWERED.items()
        for pattern in patterns
    )


def every(clone: Path) -> Iterator[dict[str, Any]]:
    """Each example of each operation in the clone, also of those that the double does not answer."""
    top = clone / "specification"
    for source in sorted(top.glob("**/*.json")):
        if "examples" in source.parts:
            continue
        for path, operations in json.loads(source.read_text()).get("paths", {}).items():
            for method, operation in operations.items():
                for name, reference in (operation.get("x-ms-examples") or {}).items():
                    file = (source.parent / reference["$ref"]).resolve()
                    if file.is_file():  # a partial clone will do
                        yield _row(name, method.upper(), path, operation, file, top)


def _row(name: str, method: str, path: str, operation: Mapping[str, Any], file: Path, top: Path) -> dict[str, Any]:
    told = json.loads(file.read_text())
    given = dict(told["parameters"])
    named = re.findall(r"\{([^}]+)\}", path)
    filled = path
    for one in named:
        value = SUBSCRIPTION if one.lower() == "subscriptionid" else str(given.pop(one, one)).strip("{}")
        filled = filled.replace(f"{{{one}}}", value)
    query = {key: str(value) for key, value in given.items() if key.startswith("$") or key == "forceDeletionTypes"}
    bodies = [value for value in given.values() if isinstance(value, dict)]
    return {
        "name": name,
        "file": str(file.relative_to(top.resolve())),
        "method": method,
        "path": filled,
        "operation": path,
        "is_long": bool(operation.get("x-ms-long-running-operation")),
        **({"query": query} if query else {}),
        **({"body": _ours(bodies[0])} if bodies else {}),
        "answers": {status: shape(_ours(answer.get("body"))) for status, answer in told["responses"].items()},
    }


def _ours(value: Any) -> Any:
    """Of one subscription, whatever an example calls it."""
    text = re.sub(r'"/subscriptions/[^/"]+', f'"/subscriptions/{SUBSCRIPTION}', json.dumps(value))
    return json.loads(text)


def shape(value: Any) -> Any:
    """Keys and kinds. What a list holds is one shape: whatever any of its entries has."""
    match value:
        case dict():
            return {key: shape(one) for key, one in value.items()}
        case list():
            return [_merged([shape(one) for one in value])] if value else []
        case bool():
            return "b"
        case int() | float():
            return "n"
        case str():
            return "s"
    return 0


def _merged(shapes: list[Any]) -> Any:
    if not all(isinstance(one, dict) for one in shapes):
        return shapes[0]
    keys = dict.fromkeys(key for one in shapes for key in one)
    return {key: _merged([one[key] for one in shapes if key in one]) for key in keys}


def main() -> None:
    rows = [row for row in every(Path(sys.argv[1])) if is_answered(row["method"], row["operation"])]
    for row in rows:
        del row["operation"]
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in sorted(rows, key=lambda row: row["file"]))
    EXAMPLES_FILE.write_text(f'{{"source": {json.dumps(_NOTE)},\n"examples": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
