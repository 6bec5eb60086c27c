"""The table of studies: every arm can be trained, every comparison is of arms that exist, and the papers' numbers add up."""

from __future__ import annotations

import pytest
import torch

from detection_core.build import build_adapter
from detection_core.catalogue.datasets import DATASETS
from detection_core.catalogue.detectors import DETECTORS
from detection_core.catalogue.recipes import recipe_for
from detection_core.catalogue.studies import STUDIES, Arm, Study
from detection_core.data.fields import FieldsOptions
from detection_core.schemas.recipe import Recipe

ARMS = [pytest.param(arm, id=f"{study.name}-{arm.name}") for study in STUDIES.values() for arm in study.arms]


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_is_a_recipe_and_a_network(arm: Arm):
    recipe = recipe_for(DETECTORS[arm.model], Recipe.parse({**arm.recipe, "seed": 0, "epochs": 1}))
    adapter = build_adapter(arm.model, classes=("crop", "weed"), options=recipe.model_options)
    with torch.device("meta"):
        assert sum(weight.numel() for weight in adapter.build().parameters()) > 100_000


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_a_study_is_whole(study: Study):
    names = [arm.name for arm in study.arms]
    assert len(set(names)) == len(names) and len({arm.label for arm in study.arms}) == len(names)
    recipes = [(arm.model, str(arm.recipe), arm.data) for arm in study.arms]
    assert len(set(recipes)) == len(recipes), "two arms would be the same training"
    assert all(arm.data in study.tests for arm in study.arms)
    assert 60 <= study.two_core_minutes <= 90
    assert study.dataset in DATASETS and study.seeds and study.question.endswith("?")
    pairs = [(one.arm, one.baseline, one.data) for one in study.comparisons]
    assert len(set(pairs)) == len(pairs)
    for arm, baseline, data in pairs:
        assert arm in names and baseline in names and arm != baseline and data in study.tests


@pytest.mark.parametrize("study", [study for study in STUDIES.values() if study.data], ids=lambda study: study.name)
def test_the_data_of_a_study_can_be_made(study: Study):
    for data in study.data:
        assert data.dataset == "fields"
        FieldsOptions.parse(data.options)


def test_differences_of_one_table_are_those_of_its_rows():
    """What a comparison quotes is the difference of two rows wherever both stand in the table that it names."""
    checked = 0
    for study in STUDIES.values():
        for one in study.comparisons:
            rows = [study.arm(name).paper for name in (one.arm, one.baseline)]
            if one.source and all(row is not None and row.source.startswith(one.source) for row in rows):
                checked += 1
                assert one.paper == pytest.approx(rows[0].ap - rows[1].ap), (study.name, one)
    assert checked == 7


def test_the_focal_study_is_table_1b_of_the_paper():
    """Lin et al. 2017, table 1b: gamma, the alpha that was best with it, AP."""
    rows = [(arm.recipe["model_options"]["classification"], arm.paper.ap) for arm in STUDIES["focal-loss"].arms[:-1]]
    assert [(loss["gamma"], loss["alpha"], ap) for loss, ap in rows] == [
        (0.0, 0.75, 0.311),
        (0.5, 0.50, 0.329),
        (1.0, 0.25, 0.337),
        (2.0, 0.25, 0.340),
        (5.0, 0.25, 0.322),
    ]
    mining = STUDIES["focal-loss"].arm("mining").recipe["model_options"]["classification"]
    assert mining == {"loss": "hard_mining", "negatives_per_positive": 3.0}
