"""docs/recipes.md names every field with its default, and its example is a recipe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from detection_core.schemas.recipe import Augmentation, Recipe

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
EXAMPLE = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL).group(1)
ROWS = re.findall(r"^\| (`[^|]*) \| ([^|]*) \|", PAGE, re.MULTILINE)
WORDS = {None: "none", (): "none", 0.0: "0"}


def defaults(schema):
    own = {name: field.default for name, field in schema.model_fields.items() if name not in ("schema_version", "augmentation")}
    return sorted(own.items())


@pytest.mark.parametrize(("name", "default"), defaults(Recipe) + defaults(Augmentation))
def test_every_field_has_a_row_with_its_default(name, default):
    told = {key: value for fields, values in ROWS for key, value in zip(re.findall(r"`(\w+)`", fields), values.split(", "), strict=False)}
    if name in ("input_size", "model_options"):
        assert name in told
        return
    word = WORDS.get(default, f"{default:g}" if isinstance(default, float) else str(default))
    assert told[name].strip("`") == word


def test_the_example_is_a_recipe_and_comes_back_from_its_json():
    recipe = Recipe.parse(EXAMPLE)
    assert Recipe.parse(recipe.to_json()) == recipe and recipe.augmentation.mosaic == 1.0


def test_a_recipe_of_before_keeps_its_meaning():
    """What the library stored before it knew the new fields: they are off."""
    old = {
        "schema_version": 1, "epochs": 12, "max_minutes": None, "batch_size": 8, "input_size": 256, "seed": 0, "lr": 0.0015,
        "weight_decay": 0.01, "warmup_fraction": 0.05, "final_lr_fraction": 0.02, "grad_clip": 10.0, "ema_decay": 0.998,
        "eval_every": 1, "state_every_s": 30.0, "model_options": {},
        "augmentation": {"flip_horizontal": 0.5, "flip_vertical": 0.0, "color": 0.3, "scale_min": 0.7, "scale_max": 1.4},
    }  # fmt: skip
    recipe = Recipe.parse(old)
    assert recipe == Recipe(input_size=256)
    new = {name: value for name, value in recipe.augmentation.to_dict().items() if name not in old["augmentation"]}
    assert {value for name, value in new.items() if name != "closing_fraction"} == {0.0}
    assert (recipe.accumulate, recipe.schedule, recipe.dtype, recipe.freeze, recipe.early_stop) == (1, "cosine", "fp32", (), None)
