"""Text that anybody may have written, as it can be stored and sent: Postgres holds no NUL, and UTF-8 no half of a surrogate pair."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Say whether a text can be stored and sent as it is."""
    return _UNSTORABLE.search(text) is None


def storable(text: str) -> str:
    """Return a text with what cannot be stored written as an escape: \\x00, or \\udcff for a byte of a file name that is no UTF-8."""
    return _UNSTORABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def storable_data(value: Any) -> Any:
    """Return JSON-ready data with all its texts, keys too, made storable."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable_data(key): storable_data(item) for key, item in value.items()}
    return [storable_data(item) for item in value] if isinstance(value, list | tuple) else value


def _storable_value(value: Any) -> Any:
    return storable(value) if isinstance(value, str) else value


# Text of a record that tells what others wrote.
StorableText = Annotated[str, BeforeValidator(_storable_value)]
