"""What a person changed against the files of a data set: told in words, and composed over several changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from detection_core.schemas.specs import DatasetEdits, SplitRule

MOST_NAMED = 12


def edit_words(edits: DatasetEdits) -> list[str]:
    """Return one sentence for each kind of change. A class that is renamed to itself is one that others are merged into."""
    sources: defaultdict[str, list[str]] = defaultdict(list)
    for old, new in edits.rename.items():
        sources[new].append(old)
    exchanged = {old for old, new in edits.rename.items() if edits.rename.get(new) == old and old != new}
    pairs = sorted({tuple(sorted((old, edits.rename[old]))) for old in exchanged})
    told = [f"{first} renamed {second} and {second} renamed {first}: the two names are exchanged" for first, second in pairs]
    told += [_rename_words(olds, new) for new, olds in sources.items() if olds != [new] and not (len(olds) == 1 and olds[0] in exchanged)]
    if edits.drop:
        told.append(f"boxes of {_listed(edits.drop)} dropped, their images kept")
    if edits.split is not None:
        told.append(split_words(edits.split))
    return told


def _rename_words(olds: Sequence[str], new: str) -> str:
    others = [old for old in olds if old != new]
    return f"{_listed(others)} merged into {new}" if len(olds) > 1 else f"{others[0]} renamed {new}"


def split_words(rule: SplitRule) -> str:
    """Say how images were divided anew."""
    shares = f"{rule.val:.0%} val and {rule.test:.0%} test, the rest train, by seed {rule.seed}"
    if rule.by == "seed":
        return f"divided anew: {shares}"
    if rule.by == "group":
        return f"divided anew by groups ({rule.group_pattern}): {shares}"
    counts = " and ".join(f"{len(names)} in {split}" for split, names in rule.lists.items())
    return f"divided anew by lists of file names: {counts}"


def history(version_edits: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the changes of a version, the first one first, each as DatasetEdits has them."""
    if "steps" in version_edits:
        return list(version_edits["steps"])
    return [dict(version_edits)] if any(version_edits.values()) else []


def composed(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a version stores that came out of another one by changes: those of the other one first."""
    steps = history(earlier)
    latest = history(now)
    # A library that carries the history along tells all of it; what it tells again is not kept twice.
    steps = latest if latest[: len(steps)] == steps else steps + latest
    return {"steps": steps} if steps else {}


def history_words(version_edits: Mapping[str, Any]) -> list[list[str]]:
    """Return the sentences of each change of a version, the first one first."""
    known = DatasetEdits.model_fields
    return [edit_words(DatasetEdits.parse({name: step[name] for name in known if name in step})) for step in history(version_edits)]


def shortened(version_edits: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes of a version with no more than MOST_NAMED names in each list of a split, and beside them how many there are."""
    if "steps" in version_edits:
        return {**version_edits, "steps": [shortened(step) for step in version_edits["steps"]]}
    split = version_edits.get("split") or {}
    if not split.get("lists"):
        return dict(version_edits)
    lists = {name: list(files)[:MOST_NAMED] for name, files in split["lists"].items()}
    counts = {name: len(files) for name, files in split["lists"].items()}
    return {**version_edits, "split": {**split, "lists": lists, "listed": counts}}


def _listed(names: Sequence[str]) -> str:
    shown = list(names[:MOST_NAMED])
    if len(names) > MOST_NAMED:
        return f"{', '.join(shown)} and {len(names) - MOST_NAMED} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
