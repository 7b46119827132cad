"""The name that a user may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest(text: str, known: Iterable[str]) -> str | None:
    """The known name that ``text`` is a misspelling of, where one is close. Case, '-' and '_' do not count."""
    if len(text) > 200:
        return None
    by_spelling = {_spelling(name): name for name in known}
    close = difflib.get_close_matches(_spelling(text), by_spelling, n=1, cutoff=0.6)
    return by_spelling[close[0]] if close else None


def did_you_mean(text: str, known: Iterable[str]) -> str:
    """``did you mean 'shards'?``, or '' where nothing is close."""
    close = closest(text, known)
    return f"did you mean '{close}'?" if close else ""


def _spelling(text: str) -> str:
    return text.lower().replace("-", "_")
