"""What the tables of settings share: a setting that takes its default from the model, and the kinds that recur."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from lisa_ci.pipeline.kinds import Id, Text
from lisa_ci.pipeline.reading import Kind
from lisa_ci.pipeline.tables import ABSENT, Setting

LEG_SUFFIX: Final = r"\.[0-9]+of[0-9]+$"

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
