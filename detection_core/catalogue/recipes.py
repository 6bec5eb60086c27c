"""Which training settings a detector gets."""

from __future__ import annotations

from detection_core.catalogue.specs import Detector
from detection_core.schemas.recipe import Recipe


def recipe_for(detector: Detector, recipe: Recipe) -> Recipe:
    """Return `recipe` with this detector's own settings where it still has the general default.

    A field that was set to the value of the general default counts as not set: a recipe keeps its meaning when it is
    written to JSON and read again. The input size is filled in, and the detector's name is not needed any more to understand it.
    """
    general = Recipe()
    own = {name: value for name, value in detector.recipe.items() if getattr(recipe, name) == getattr(general, name)}
    size = recipe.input_size or (detector.input_size if detector.input_size % 32 == 0 else None)
    return Recipe.parse({**recipe.model_dump(), **own, "input_size": size})
