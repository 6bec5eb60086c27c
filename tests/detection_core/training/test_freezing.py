"""Parts of a network that are not trained."""

from __future__ import annotations

import pytest
import torch

from detection_core.schemas.base import InvalidInput
from detection_core.schemas.recipe import Recipe
from detection_core.training.freezing import freeze
from detection_core.training.loop import run_training
from tests.detection_core.training.small import small_recipe, start


def copies(model, beginning):
    return {name: tensor.clone() for name, tensor in model.state_dict().items() if name.startswith(beginning)}


def test_what_is_frozen_keeps_its_weights_and_its_statistics_and_the_rest_learns(squares):
    run, batches, _ = start(small_recipe(epochs=1), squares)
    run.frozen = freeze(run.model, ("backbone.body.layer1", "backbone.body.bn1"))
    run.optimizer = torch.optim.AdamW(run.adapter.param_groups(run.model, 1e-3, 0.01))
    still, rest = copies(run.model, ("backbone.body.layer1.", "backbone.body.bn1.")), copies(run.model, "backbone.body.layer2.")
    run_training(run, batches.epoch, [])
    for network in (run.model, run.average.model):
        after = network.state_dict()
        assert all(torch.equal(tensor, after[name]) for name, tensor in still.items())
        assert not any(torch.equal(tensor, after[name]) for name, tensor in rest.items())
    assert any(name.endswith("running_mean") for name in still)
    assert not run.model.backbone.body.bn1.training and run.model.backbone.body.layer2[0].bn1.training


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("backbone", "trunk"), r"names 'trunk', which begins no weight of this network; its parts are backbone, head"),
        (("backbone.body.layer",), "begins no weight"),
        (("backbone", "head"), "leaves nothing to train"),
    ],
)
def test_a_name_that_freezes_nothing_or_everything_is_refused(squares, names, words):
    run, _, _ = start(small_recipe(), squares)
    with pytest.raises(InvalidInput, match=words):
        freeze(run.model, names)


def test_one_name_may_stand_without_a_list():
    assert Recipe.parse({"freeze": "backbone"}).freeze == ("backbone",) == Recipe.parse({"freeze": ["backbone"]}).freeze
