"""Weights that torchvision publishes: they fit the detectors that name them, and what cannot be had is told in a sentence."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torchvision.models import detection, get_model, get_model_weights, get_weight, list_models, resnet18

from detection_core.build import build_adapter
from detection_core.catalogue.detectors import DETECTORS
from detection_core.operations import published_weights as module
from detection_core.operations.context import JobContext
from detection_core.operations.published_weights import published_weights
from detection_core.operations.train import run
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.events import Event, EventWriter
from detection_core.schemas.specs import TrainSpec
from tests.detection_core.training.small import draw_dataset, small_recipe

PUBLISHED = {name: entry.published_weights for name, entry in DETECTORS.items() if entry.published_weights}


def shapes(model):
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Publish a file under an address whose name holds the hash of the bytes, or of others."""

    def make(content, *, digest=None):
        torch.save(content, tmp_path / "file")
        found = hashlib.sha256((tmp_path / "file").read_bytes()).hexdigest()
        path = (tmp_path / "file").rename(tmp_path / f"weights-{(digest or found)[:8]}.pth")
        monkeypatch.setattr(module, "get_weight", lambda name: SimpleNamespace(url=path.as_uri()))
        return path

    return make


@pytest.mark.parametrize("name", [name for name, weights in PUBLISHED.items() if "COCO" in weights])
def test_the_network_of_the_published_weights_is_the_detectors_own_but_for_the_layers_of_its_classes(name):
    kind = type(get_weight(PUBLISHED[name]))
    (theirs_name,) = [known for known in list_models(module=detection) if get_model_weights(known) is kind]
    with torch.device("meta"):
        theirs = shapes(get_model(theirs_name, weights=None, weights_backbone=None, num_classes=91))
        ours = shapes(build_adapter(name, classes=tuple(f"class {number}" for number in range(20))).build())
    assert set(theirs) == set(ours)
    differing = {key for key in ours if ours[key] != theirs[key]}
    assert 0 < len(differing) <= 24 and all("head" in key or "predictor" in key for key in differing)


@pytest.mark.parametrize("name", [name for name, weights in PUBLISHED.items() if "IMAGENET" in weights])
def test_the_trunk_of_a_classifier_is_the_detectors_own(name, publish, tmp_path):
    publish(resnet18().state_dict())
    found = published_weights(DETECTORS[name], cache=tmp_path / "cache")
    with torch.device("meta"):
        ours = shapes(build_adapter(name, classes=("weed",)).build())
    assert len(found) == 120 and all(ours[key] == tuple(tensor.shape) for key, tensor in found.items())
    assert {key for key in ours if key.startswith("backbone.body.")} == set(found)


def test_a_training_begins_with_them_and_says_what_they_lack(publish, tmp_path):
    trunk = resnet18()
    nn.init.constant_(trunk.conv1.weight, 0.01)
    publish(trunk.state_dict())
    dataset = draw_dataset(tmp_path)

    class Context(JobContext):
        def dataset(self, file):
            return dataset

    out = tmp_path / "out"
    out.mkdir()
    spec = {"model": "fcos_resnet18_fpn", "dataset": {"ref": "squares"}, "weights": {"ref": "published"}}
    recipe = small_recipe(lr=1e-12, epochs=1).to_dict()
    context = Context(out=out, events=EventWriter(out / "events.jsonl"), inputs=None, cache=tmp_path / "cache")
    result = run(TrainSpec.parse(spec | {"recipe": recipe}), context)
    assert torch.allclose(load_file(out / result.last.path)["backbone.body.conv1.weight"], torch.tensor(0.01), atol=1e-4)
    told = [Event.model_validate_json(line) for line in (out / "events.jsonl").read_text().splitlines()]
    (warning,) = [event.message for event in told if event.type == "warning"]
    assert "are not among those to start from and begin at random: backbone.fpn" in warning


def test_weights_that_cannot_be_downloaded_are_refused_with_where_to_put_them(publish, tmp_path):
    publish({}).unlink()
    with pytest.raises(InvalidInput, match=r"could not be downloaded .*put the file into .*weights, or start fcos_resnet50_fpn at random"):
        published_weights(DETECTORS["fcos_resnet50_fpn"], cache=tmp_path / "cache")


def test_a_file_that_is_not_the_published_one_is_refused(publish, tmp_path):
    publish({}, digest="0123456789abcdef")
    with pytest.raises(InvalidInput, match="is not the file that was published"):
        published_weights(DETECTORS["fcos_resnet50_fpn"], cache=tmp_path / "cache")


def test_a_file_that_holds_more_than_tensors_is_refused_and_runs_nothing(publish, tmp_path):
    class Harmful:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    publish({"weight": Harmful()})
    with pytest.raises(InvalidInput, match="is not the file that was published"):
        published_weights(DETECTORS["fcos_resnet50_fpn"], cache=tmp_path / "cache")
    assert not (tmp_path / "harm").exists()
