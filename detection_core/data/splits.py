"""Which image belongs to which split, where the data does not say it.

Images are ordered by the sha256 of "seed:key", where the key is the image's group, else the hash of its bytes: the order does not
depend on file names, and images of one group, like equal images, go the same way.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from detection_core.data.dataset import SPLITS, Split
from detection_core.data.health import HealthLog

SHARES: dict[Split, float] = {"train": 0.70, "val": 0.15, "test": 0.15}
# Below this many val images none are taken away for a test split.
MIN_VAL_TO_HALVE = 40
NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "trainval": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


def split_named(word: str) -> Split | None:
    """Return the split that a folder or file name such as `train2017`, `valid` or `instances_val2017` stands for, if any."""
    parts = word.lower().replace("-", "_").replace(".", "_").split("_")
    found = {NAMES[stem] for part in parts if (stem := part.strip("0123456789")) in NAMES}
    return found.pop() if len(found) == 1 else None


def assign_splits(given: Sequence[str | None], keys: Sequence[str], *, seed: int, log: HealthLog, where: str) -> list[Split]:
    """Return the split of every image.

    Args:
        given: what the data says, None where it says nothing.
        keys: the group of each image, or the hash of its bytes.
        seed: of the order in which images are taken.
        log: gets one line for every split that was made here.
        where: the name that the line carries.

    Rules: no split given, or everything in train: 70/15/15. Train and val without test: half of val becomes test if val has at least
    40 images, else there is no test split. Train without val: 15 of 85 parts of train become val. Images without a split beside images
    with one go to train. A lone val or test split stays as it is.
    """
    splits: list[Split | None] = [name if name in SPLITS else None for name in given]  # type: ignore[misc]
    present = {split for split in splits if split}
    if present <= {"train"}:
        made = _dealt(range(len(keys)), keys, list(SHARES.items()), seed)
        log.add("split_made", where, "the data names no val and no test split", f"70/15/15 of its images were dealt by seed {seed}")
        return [made[index] for index in range(len(keys))]
    loose = [index for index, split in enumerate(splits) if split is None]
    if loose:
        log.add("split_made", where, f"{len(loose)} images are in no split", "they were added to train")
    result: list[Split] = [split or "train" for split in splits]
    if "train" in result and "val" not in result:
        _take(result, keys, "train", "val", SHARES["val"] / (SHARES["train"] + SHARES["val"]), seed)
        log.add("split_made", where, "the data has no val split", f"{result.count('val')} train images became val, dealt by seed {seed}")
    if "train" in result and "test" not in result:
        if result.count("val") >= MIN_VAL_TO_HALVE:
            _take(result, keys, "val", "test", 0.5, seed)
            log.add(
                "split_made", where, "the data has no test split", f"{result.count('test')} val images became test, dealt by seed {seed}"
            )
        else:
            log.add("no_test_split", where, f"no test split, and only {result.count('val')} val images", "there is no test split")
    return result


def deal(keys: Sequence[str], shares: Sequence[tuple[Split, float]], *, seed: int) -> list[Split]:
    """Return the split of every image, dealt anew: whole groups of equal keys, in hashed order, so that each split nears its share."""
    dealt = _dealt(range(len(keys)), keys, list(shares), seed)
    return [dealt[index] for index in range(len(keys))]


def _take(result: list[Split], keys: Sequence[str], source: Split, target: Split, share: float, seed: int) -> None:
    members = [index for index, split in enumerate(result) if split == source]
    for index, split in _dealt(members, keys, [(source, 1 - share), (target, share)], seed).items():
        result[index] = split


def _dealt(members: Sequence[int], keys: Sequence[str], shares: list[tuple[Split, float]], seed: int) -> dict[int, Split]:
    """Deal whole groups of images, in hashed order, each to the split that is furthest behind its share."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for index in members:
        groups[keys[index]].append(index)
    counts = {split: 0 for split, _ in shares}
    dealt: dict[int, Split] = {}
    for key in sorted(groups, key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest()):
        done = len(dealt) + len(groups[key])
        split = max(shares, key=lambda item: item[1] * done - counts[item[0]])[0]
        counts[split] += len(groups[key])
        dealt.update(dict.fromkeys(groups[key], split))
    return dealt
