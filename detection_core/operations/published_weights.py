"""Weights that torchvision publishes, to begin a training with, on a machine that can download them."""

from __future__ import annotations

import pickle
import urllib.error
from pathlib import Path

from torch import Tensor
from torch.hub import load_state_dict_from_url
from torchvision.models import get_weight

from detection_core.catalogue.specs import Detector
from detection_core.schemas.base import InvalidInput

# Where the trunk of our ResNet detectors has what a classifier calls conv1, bn1, layer1 and so on.
TRUNK = "backbone.body."


def published_weights(detector: Detector, *, cache: Path) -> dict[str, Tensor]:
    """Download the published weights of a detector, or of its trunk, once; return them by the detector's own names.

    The file's hash is checked against the digits in its name, and tensors alone are read.

    Raises:
        InvalidInput: none are published for this detector, or they cannot be had here.
    """
    if detector.published_weights is None:
        raise InvalidInput(
            f"nobody publishes weights for {detector.name}; start at random, or from a checkpoint of the family {detector.family}"
        )
    url = get_weight(detector.published_weights).url
    file = url.rpartition("/")[2]
    try:
        weights = load_state_dict_from_url(
            url, model_dir=str(cache / "weights"), map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", None) or error
        raise InvalidInput(
            f"{url} could not be downloaded ({reason}); put the file into {cache / 'weights'}, or start {detector.name} at random"
        ) from None
    except (RuntimeError, pickle.UnpicklingError) as error:
        raise InvalidInput(f"{file} is not the file that was published ({error}); remove it from {cache / 'weights'}") from None
    if "fc.weight" not in weights:
        return weights
    return {TRUNK + name: tensor for name, tensor in weights.items() if not name.startswith("fc.")}
