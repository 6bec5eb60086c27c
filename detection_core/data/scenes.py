"""Scenes of crop rows as a drone sees them: what grows where, and one photograph of it with its boxes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from detection_core.data.plants import Patch, Plant, crop_plant, draw, weed_plant

# A camera whose pixel covers 0.3 mm of ground for every metre of height.
METRES_PER_PIXEL_PER_METRE = 0.0003
_ROW_SPACING_M = (0.42, 0.62)
_PLANT_SPACING_M = (0.32, 0.50)
# Radius of weeds. Smaller seedlings would be specks of a few pixels that nobody could label.
_SMALLEST_M = 0.04
_LARGEST_M = 0.14
# A plant becomes an object while this part of it is seen, and its box is at least this many pixels wide and high.
_MIN_SEEN = 0.3
_MIN_SIDE_PX = 5
_SOLID = 0.45


@dataclass(frozen=True)
class Field:
    """What the images of one place share: rows, growth, soil, light, camera."""

    row_angle: float
    row_spacing_m: float
    plant_spacing_m: float
    gap_share: float
    crop_radius_m: float
    weeds_per_m2: float
    weed_radius_m: float
    crop_colour: tuple[float, float, float]
    weed_colour: tuple[float, float, float]
    soil: tuple[float, float, float]
    roughness: float
    sun: tuple[float, float]
    shadow: float
    blur_px: float
    noise: float


@dataclass(frozen=True)
class View:
    """One photograph uint8 [size, size, 3]; boxes float64 [n, 4] xyxy around what is seen of each plant; labels and plant numbers [n]."""

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    plants: np.ndarray


def random_field(rng: np.random.Generator) -> Field:
    """Draw the features of a place. Leaf colours of crop and weed come from the same range, the weed's a little yellower on average."""
    sun_angle = rng.uniform(0, 2 * math.pi)
    green = np.array([rng.uniform(72, 112), rng.uniform(112, 150), rng.uniform(48, 82)])
    weed_green = green + rng.normal((10, 4, -4), (13, 11, 10))
    soil = (np.array([142.0, 118.0, 93.0]) + rng.normal(0, (5, 5, 8))) * rng.uniform(0.72, 1.2)
    return Field(
        row_angle=rng.uniform(0, math.pi),
        row_spacing_m=rng.uniform(*_ROW_SPACING_M),
        plant_spacing_m=rng.uniform(*_PLANT_SPACING_M),
        gap_share=rng.uniform(0.1, 0.3),
        crop_radius_m=rng.uniform(0.08, 0.13),
        weeds_per_m2=rng.uniform(0.7, 2.6),
        weed_radius_m=rng.uniform(0.05, 0.10),
        crop_colour=tuple(green.tolist()),
        weed_colour=tuple(weed_green.tolist()),
        soil=tuple(soil.tolist()),
        roughness=rng.uniform(0.5, 1.5),
        sun=(math.cos(sun_angle), math.sin(sun_angle)),
        shadow=rng.uniform(0.15, 0.55),
        blur_px=rng.uniform(0.2, 0.9),
        noise=rng.uniform(2, 6),
    )


def grow(field: Field, *, width_m: float, height_m: float, rng: np.random.Generator) -> list[Plant]:
    """Return the plants of a rectangle of ground with a margin around it, in random order of height above each other."""
    margin = 0.3
    crops = [
        crop_plant(x, y, radius_m=field.crop_radius_m * rng.uniform(0.7, 1.15), colour=_varied(field.crop_colour, rng), rng=rng)
        for x, y in _row_places(field, width_m, height_m, margin, rng)
    ]
    count = int(rng.poisson(field.weeds_per_m2 * (width_m + 2 * margin) * (height_m + 2 * margin)))
    weeds = []
    for _ in range(count):
        x, y = rng.uniform(-margin, width_m + margin), rng.uniform(-margin, height_m + margin)
        if crops and rng.random() < 0.25:  # in the row, beside or over a crop plant
            near = crops[int(rng.integers(len(crops)))]
            x, y = near.x_m + rng.normal(0, 0.11), near.y_m + rng.normal(0, 0.11)
        radius = min(max(field.weed_radius_m * math.exp(rng.normal(0, 0.4)), _SMALLEST_M), _LARGEST_M)
        weeds.append(weed_plant(x, y, radius_m=radius, colour=_varied(field.weed_colour, rng), rng=rng))
    plants = crops + weeds
    return [plants[index] for index in rng.permutation(len(plants))]


def soil_texture(field: Field, *, width: int, height: int, px_per_m: float, rng: np.random.Generator) -> np.ndarray:
    """Return bare ground float32 [height, width, 3]: clods of several sizes, straw, stones."""
    relief = np.zeros((height, width), dtype=np.float32)
    for clod_m, strength in ((1.2, 9.0), (0.25, 8.0), (0.07, 8.0)):
        cells = max(clod_m * px_per_m, 1.5)
        relief += np.float32(strength) * _smooth_noise(width, height, cells, rng)
    relief += rng.standard_normal((height, width), dtype=np.float32) * np.float32(3.0)
    ground = np.array(field.soil, dtype=np.float32) + np.float32(field.roughness) * relief[:, :, None]
    _scatter_litter(ground, px_per_m, rng)
    return ground


def photograph(
    field: Field,
    plants: list[Plant],
    ground: np.ndarray,
    *,
    left_m: float,
    top_m: float,
    size: int,
    px_per_m: float,
    rng: np.random.Generator,
) -> View:
    """Photograph the square of `size` pixels whose top left corner lies at (left_m, top_m); `ground` float32 [size, size, 3] is altered."""
    patches = []
    for number, plant in enumerate(plants):
        x, y, reach = (plant.x_m - left_m) * px_per_m, (plant.y_m - top_m) * px_per_m, plant.reach_m * px_per_m + 2
        if -reach < x < size + reach and -reach < y < size + reach:
            patches.append((number, draw(plant, x=x, y=y, px_per_m=px_per_m, sun=field.sun)))
    for _, patch in patches:
        _cast_shadow(ground, patch, field, px_per_m)
    owner = np.full((size, size), -1, dtype=np.int32)
    for number, patch in patches:
        _paint(ground, owner, patch, number)
    boxes, labels, numbers = [], [], []
    for number, patch in patches:
        box = _seen_box(owner, patch, number)
        if box is not None:
            boxes.append(box)
            labels.append(plants[number].label)
            numbers.append(number)
    image = _exposed(ground, field, rng)
    return View(
        image, np.array(boxes, dtype=np.float64).reshape(-1, 4), np.array(labels, dtype=np.int64), np.array(numbers, dtype=np.int64)
    )


def px_per_metre(altitude_m: float) -> float:
    """Return how many pixels a metre of ground takes from this height."""
    return 1.0 / (METRES_PER_PIXEL_PER_METRE * altitude_m)


def _row_places(field: Field, width_m: float, height_m: float, margin: float, rng: np.random.Generator) -> list[tuple[float, float]]:
    cos, sin = math.cos(field.row_angle), math.sin(field.row_angle)
    half = math.hypot(width_m, height_m) / 2 + margin
    across = np.arange(-half + rng.uniform(0, field.row_spacing_m), half, field.row_spacing_m)
    places: list[tuple[float, float]] = []
    for row in across.tolist():
        along = np.arange(-half + rng.uniform(0, field.plant_spacing_m), half, field.plant_spacing_m)
        along = along + rng.normal(0, 0.12 * field.plant_spacing_m, along.size)
        side = row + rng.normal(0, 0.02, along.size)
        grown = rng.random(along.size) >= field.gap_share
        x = width_m / 2 + along * cos - side * sin
        y = height_m / 2 + along * sin + side * cos
        inside = grown & (x > -margin) & (x < width_m + margin) & (y > -margin) & (y < height_m + margin)
        places.extend(zip(x[inside].tolist(), y[inside].tolist(), strict=True))
    return places


def _varied(colour: tuple[float, float, float], rng: np.random.Generator) -> tuple[float, float, float]:
    light = rng.uniform(0.82, 1.15)
    red, green, blue = (np.array(colour) * light + rng.normal(0, 6, 3)).tolist()
    return red, green, blue


def _smooth_noise(width: int, height: int, cell: float, rng: np.random.Generator) -> np.ndarray:
    small = rng.standard_normal((max(math.ceil(height / cell), 1) + 1, max(math.ceil(width / cell), 1) + 1), dtype=np.float32)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def _scatter_litter(ground: np.ndarray, px_per_m: float, rng: np.random.Generator) -> None:
    """Put straw (thin bright strokes) and stones (small grey discs) on the ground; both mislead a detector that looks for contrast."""
    height, width = ground.shape[:2]
    square_metres = width * height / px_per_m**2
    for _ in range(min(int(rng.poisson(1.5 * square_metres)), 60)):
        x, y, angle = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0, math.pi)
        steps = np.arange(0, max(rng.uniform(0.03, 0.16) * px_per_m, 2.0), 0.5)
        columns, rows = (x + steps * math.cos(angle)).astype(int), (y + steps * math.sin(angle)).astype(int)
        inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        ground[rows[inside], columns[inside]] += np.float32(rng.uniform(15, 45))
    for _ in range(min(int(rng.poisson(1.0 * square_metres)), 40)):
        x, y, radius = int(rng.uniform(0, width)), int(rng.uniform(0, height)), max(rng.uniform(0.006, 0.025) * px_per_m, 1.0)
        reach = math.ceil(radius)
        part = ground[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
        rows, columns = np.ogrid[
            max(y - reach, 0) - y : part.shape[0] + max(y - reach, 0) - y, max(x - reach, 0) - x : part.shape[1] + max(x - reach, 0) - x
        ]
        part[rows**2 + columns**2 <= radius**2] = np.float32(rng.uniform(95, 165))


def _cast_shadow(ground: np.ndarray, patch: Patch, field: Field, px_per_m: float) -> None:
    reach_px = 0.03 * px_per_m
    shifted = Patch(patch.left - round(field.sun[0] * reach_px), patch.top - round(field.sun[1] * reach_px), patch.alpha, patch.rgb)
    rows, columns, alpha, _ = _overlap(ground.shape, shifted)
    ground[rows, columns] *= 1 - np.float32(field.shadow) * alpha[:, :, None]


def _paint(ground: np.ndarray, owner: np.ndarray, patch: Patch, number: int) -> None:
    rows, columns, alpha, rgb = _overlap(ground.shape, patch)
    ground[rows, columns] += alpha[:, :, None] * (rgb - ground[rows, columns])
    owner[rows, columns][alpha > _SOLID] = number


def _seen_box(owner: np.ndarray, patch: Patch, number: int) -> tuple[float, float, float, float] | None:
    rows, columns, _, _ = _overlap(owner.shape, patch)
    seen = owner[rows, columns] == number
    whole = int((patch.alpha > _SOLID).sum())
    if whole == 0 or seen.sum() < _MIN_SEEN * whole:
        return None
    ys, xs = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    x1, y1, x2, y2 = columns.start + xs[0], rows.start + ys[0], columns.start + xs[-1] + 1, rows.start + ys[-1] + 1
    if x2 - x1 < _MIN_SIDE_PX or y2 - y1 < _MIN_SIDE_PX:
        return None
    return float(x1), float(y1), float(x2), float(y2)


def _overlap(shape: tuple[int, ...], patch: Patch) -> tuple[slice, slice, np.ndarray, np.ndarray]:
    """Return rows and columns of the image that a patch covers, with the patch's part that lies there."""
    height, width = patch.alpha.shape
    top, left = min(max(patch.top, 0), shape[0]), min(max(patch.left, 0), shape[1])
    bottom, right = max(min(patch.top + height, shape[0]), top), max(min(patch.left + width, shape[1]), left)
    part = (slice(top - patch.top, bottom - patch.top), slice(left - patch.left, right - patch.left))
    return slice(top, bottom), slice(left, right), patch.alpha[part], patch.rgb[part]


def _exposed(ground: np.ndarray, field: Field, rng: np.random.Generator) -> np.ndarray:
    """Turn the scene into a photograph: uneven light, blur, sensor noise."""
    height, width = ground.shape[:2]
    light = 1 + np.float32(0.12) * np.clip(_smooth_noise(width, height, width / 1.5, rng), -2.5, 2.5)
    ground *= light[:, :, None]
    ground += rng.standard_normal((height, width, 1), dtype=np.float32) * np.float32(field.noise)
    image = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(field.blur_px)))
