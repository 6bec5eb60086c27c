"""What a reader hands over: images and boxes as the files say, not yet checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from detection_core.data.dataset import IMAGE_SUFFIXES

# Parts of a path that hold no data of the set: what macOS and editors leave behind.
_IGNORED = ("__MACOSX",)


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

    `size` is (width, height) as declared, if so; `source_id` the image's id in COCO annotations.
    """

    file: str
    split: str | None
    boxes: list[RawBox] = field(default_factory=list)
    size: tuple[int, int] | None = None
    relative_boxes: bool = False
    source_id: int | None = None


@dataclass(frozen=True)
class RawDataset:
    """All images that a reader found, with the class names in label order. Boxes of an image with `relative_boxes` are in 0..1.

    `source_categories` gives the label of each category id of COCO annotations.
    """

    classes: tuple[str, ...]
    images: list[RawImage]
    source_categories: dict[int, int] = field(default_factory=dict)


def files_under(root: Path) -> Iterator[str]:
    """Yield the posix path of every ordinary file under `root`, sorted, without hidden files; symbolic links are not followed."""
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if any(part.startswith(".") or part in _IGNORED for part in relative.parts) or path.is_symlink() or not path.is_file():
            continue
        yield relative.as_posix()


def is_image(file: str) -> bool:
    """Say whether a file name ends like an image that can be read."""
    return Path(file).suffix.lower() in IMAGE_SUFFIXES
