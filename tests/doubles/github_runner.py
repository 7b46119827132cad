"""How the GitHub runner reads what a step prints and the files it leaves: the parser's rules, for tests.

Written from the behaviour of actions/runner (ActionCommand, ActionCommandManager, FileCommandManager): commands of the
second form at the start of a line, of the first form anywhere in a line, stop-commands, and the two forms of outputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_COMMANDS = {"error", "warning", "notice", "debug", "group", "endgroup", "add-mask", "stop-commands", "set-output"}
# .NET's Char.IsWhiteSpace.
_WHITE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))


@dataclass
class Issued:
    """A command that the runner would carry out."""

    name: str
    data: str
    properties: dict[str, str] = field(default_factory=dict)


def read_log(lines: Iterable[str]) -> list[Issued]:
    """The commands in what a step printed. An item of ``lines`` may hold newlines: the runner sees several lines."""
    issued: list[Issued] = []
    token = ""
    for text in lines:
        for line in re.split(r"\r\n|\r|\n", text):
            if token:
                if _parse_v2(line, {token}) or _parse_v1(line, {token}):
                    token = ""
                continue
            found = _parse_v2(line, _COMMANDS) or _parse_v1(line, _COMMANDS)
            if found is None:
                continue
            issued.append(found)
            if found.name == "stop-commands":
                token = found.data
    return issued


def _parse_v2(line: str, known: set[str]) -> Issued | None:
    text = line.lstrip(_WHITE)
    if not text.startswith("::"):
        return None
    head, mark, data = text[2:].partition("::")
    name, _, properties = head.partition(" ")
    if not mark or name not in known:
        return None
    return Issued(name, _unescape(data), _pairs(properties.strip(_WHITE), ",", {"%3A": ":", "%2C": ","}))


def _parse_v1(line: str, known: set[str]) -> Issued | None:
    start = line.find("##[")
    end = line.find("]", start)
    if start < 0 or end < 0:
        return None
    name, _, properties = line[start + 3 : end].partition(" ")
    if name not in known:
        return None
    return Issued(name, line[end + 1 :], _pairs(properties, ";", {"%3B": ";", "%5D": "]"}))


def _pairs(text: str, separator: str, escapes: dict[str, str]) -> dict[str, str]:
    pairs = (part.split("=", 1) for part in text.split(separator) if "=" in part)
    return {key: _unescape(value, escapes) for key, value in pairs}


def _unescape(text: str, escapes: dict[str, str] | None = None) -> str:
    for escaped, plain in ({"%0D": "\r", "%0A": "\n"} | (escapes or {})).items():
        text = text.replace(escaped, plain)
    return text.replace("%25", "%")


def read_outputs(content: str) -> dict[str, str]:
    """The outputs in a file that a step wrote; ValueError where the runner fails the step."""
    outputs: dict[str, str] = {}
    lines = content.split("\n")
    if lines.pop() != "":
        raise ValueError("no newline at the end")
    waiting = iter(lines)
    for line in waiting:
        if not line:
            continue
        equals, heredoc = line.find("="), line.find("<<")
        if heredoc >= 0 and (equals < 0 or heredoc < equals):
            name, delimiter = line[:heredoc], line[heredoc + 2 :]
            value = []
            for inner in waiting:
                if inner == delimiter:
                    break
                value.append(inner)
            else:
                raise ValueError(f"no delimiter {delimiter}")
            outputs[name] = "\n".join(value)
        elif equals > 0:
            outputs[line[:equals]] = line[equals + 1 :]
        else:
            raise ValueError(f"neither name=value nor name<<delimiter: {line!r}")
    return outputs
