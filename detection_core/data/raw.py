"""What a reader hands over: images and boxes as the files say, not yet checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from detection_core.data.dataset import IMAGE_SUFFIXES
from detection_core.data.health import HealthLog
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.text import is_storable

# Parts of a path that hold no data of the set: what macOS and editors leave behind.
_IGNORED = ("__MACOSX",)
# Far beyond every public data set. A stray number must not make a class of each number below it.
MAX_CLASSES = 10_000
MAX_CLASS_NAME = 100


@dataclass(frozen=True)
class RawBox:
    """One annotation: `box` xyxy in pixels, `label` 0-based, `area` None where the source tells none, `where` for the report."""

    box: tuple[float, float, float, float]
    label: int
    where: str
    crowd: bool = False
    area: float | None = None


@dataclass(frozen=True)
class RawImage:
    """One image file (posix path under the root) with what the source says of it.

    `size` is (width, height) as declared, if so; `group` names images that belong together; `source_id` the image's id in COCO annotations.
    """

    file: str
    split: str | None
    boxes: list[RawBox] = field(default_factory=list)
    size: tuple[int, int] | None = None
    relative_boxes: bool = False
    group: str | None = None
    source_id: int | None = None


@dataclass(frozen=True)
class RawDataset:
    """All images that a reader found, with the class names in label order. Boxes of an image with `relative_boxes` are in 0..1.

    `named_in` is the file that names the classes; `source_categories` gives the label of each category id of COCO annotations.
    """

    classes: tuple[str, ...]
    images: list[RawImage]
    named_in: str = ""
    source_categories: dict[int, int] = field(default_factory=dict)


def files_under(root: Path) -> Iterator[str]:
    """Yield the posix path of every ordinary file under `root`, sorted, without hidden files; symbolic links are not followed."""
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if any(part.startswith(".") or part in _IGNORED for part in relative.parts) or path.is_symlink() or not path.is_file():
            continue
        yield relative.as_posix()


def usable_files(root: Path, log: HealthLog) -> list[str]:
    """Return the files under `root` whose names can be stored; the others get a line in the report."""
    files = []
    for file in files_under(root):
        if is_storable(file):
            files.append(file)
        else:
            log.add("unusable_name", file, "its name is not UTF-8", "the file was left out; rename it and import again")
    return files


def check_class_names(names: Iterable[str], where: str) -> None:
    """Refuse, naming the place, names of classes that cannot be stored or told apart, and too many of them; raises InvalidInput."""
    seen: set[str] = set()
    for name in names:
        if not is_storable(name):
            raise InvalidInput(f"{where} names a class '{name[:80]}', which holds characters that cannot be stored; give it another name")
        if not name.strip():
            raise InvalidInput(f"{where} names a class with nothing but spaces; give every class a name")
        if len(name) > MAX_CLASS_NAME:
            raise InvalidInput(f"{where} names a class '{name[:40]}…' with {len(name)} letters; use at most {MAX_CLASS_NAME}")
        if name in seen:
            raise InvalidInput(f"{where} names a class twice ('{name}'); give every class its own name")
        seen.add(name)
    if len(seen) > MAX_CLASSES:
        raise InvalidInput(
            f"{where} names {len(seen):,} classes, more than the {MAX_CLASSES:,} that can be read; leave out those without boxes"
        )


def is_image(file: str) -> bool:
    """Say whether a file name ends like an image that can be read."""
    return Path(file).suffix.lower() in IMAGE_SUFFIXES
