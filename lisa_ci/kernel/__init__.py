"""A foreign kernel: from what was delivered to what boots an image with it."""

from lisa_ci.kernel.boot import Boot, Slots, parts_of, prepare, problems, wishes
from lisa_ci.kernel.identity import Identity, build_id
from lisa_ci.kernel.parts import Parts, delivery_digest, lay_out
from lisa_ci.kernel.source_lines import SourceLines

__all__ = [
    "Boot",
    "Identity",
    "Parts",
    "Slots",
    "SourceLines",
    "build_id",
    "delivery_digest",
    "lay_out",
    "parts_of",
    "prepare",
    "problems",
    "wishes",
]
