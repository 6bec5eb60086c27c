"""The small part of YAML that YOLO data files use: `names` as a list or numbered map, and where the splits lie."""

from __future__ import annotations

import re
from collections.abc import Iterator

_TOP_KEY = re.compile(r"^([A-Za-z_][\w-]*)\s*:\s*(.*)$")
_ITEM = re.compile(r"^-\s*(.*)$")
_NUMBERED = re.compile(r"^['\"]?(\d+)['\"]?\s*:\s*(.*)$")
_SCALAR = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^']|'')*)'|([^,\[\]{}#]+))\s*""")


def read_names(text: str) -> tuple[str, ...] | None:
    """Return the class names in label order, or None where the text has no readable `names`.

    Understood are `names: [a, b]`, `names: {0: a, 1: b}`, both over several lines, and block lists and maps. Numbered names must count
    from 0 without a gap.
    """
    value = _top_level_values(text).get("names")
    if not value:
        return None
    joined = " ".join(value)
    if joined.startswith("["):
        return _in_order(enumerate(_scalars(joined.strip("[] "))))
    if joined.startswith("{"):
        return _in_order(_numbered(_scalars(joined.strip("{} "))))
    if all(_ITEM.match(line) for line in value):
        return _in_order(enumerate(_unquoted(line[1:].strip()) for line in value))
    return _in_order(_numbered(value))


def _top_level_values(text: str) -> dict[str, list[str]]:
    """Return for every top-level key the non-empty lines of its value, stripped, without comments."""
    values: dict[str, list[str]] = {}
    key = None
    for line in text.splitlines():
        bare = _without_comment(line).rstrip()
        if not bare.strip() or bare.strip() in ("---", "..."):
            continue
        match = _TOP_KEY.match(bare)
        if match:
            key = match[1]
            values[key] = [match[2].strip()] if match[2].strip() else []
        elif key:
            values[key].append(bare.strip())
    return values


def _without_comment(line: str) -> str:
    quote = ""
    for index, character in enumerate(line):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "#" and (index == 0 or line[index - 1].isspace()):
            return line[:index]
    return line


def _scalars(inside: str) -> Iterator[str]:
    """Yield the items of a flow list, at commas outside quotes."""
    position = 0
    while position < len(inside):
        match = _SCALAR.match(inside, position)
        if not match or match.end() == position:
            position += 1
            continue
        yield _unquoted(match[0].strip())
        position = match.end() + 1


def _numbered(items: Iterator[str] | list[str]) -> Iterator[tuple[int, str]]:
    for item in items:
        match = _NUMBERED.match(item)
        yield (int(match[1]), _unquoted(match[2].strip())) if match else (-1, item)


def _in_order(items: Iterator[tuple[int, str]]) -> tuple[str, ...] | None:
    names = dict(items)
    if not names or sorted(names) != list(range(len(names))) or not all(names.values()):
        return None
    return tuple(names[index] for index in range(len(names)))


def _unquoted(text: str) -> str:
    if len(text) >= 2 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if len(text) >= 2 and text[0] == text[-1] == '"':
        return text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    return text
