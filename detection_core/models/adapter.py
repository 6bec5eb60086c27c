"""What every detector family offers, and the few parts that all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, Unpack

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList

from detection_core.assignment.layouts import AnchorOptions, AnchorRule, PerLevel, check_anchors, rule_under
from detection_core.catalogue.specs import Neck
from detection_core.nn.balance import Balance
from detection_core.nn.postprocess import Detections, Limits
from detection_core.schemas.base import InvalidInput
from detection_core.schemas.manifest import InputPolicy

Target = dict[str, Tensor]


@dataclass(frozen=True)
class Loss:
    """The named parts of a loss, whose sum is minimised, and for dense families who brought how much of the classification."""

    parts: dict[str, Tensor]
    balance: Balance | None = None

    @property
    def total(self) -> Tensor:
        """The sum of the parts."""
        return torch.stack(list(self.parts.values())).sum()


class DetectorAdapter(Protocol):
    """One detector: builds the network and speaks for it in one language, whatever the family.

    Images are float32 [N, 3, H, W], already resized and normalised after `input`. A target is a dict of `boxes` float32 [n, 4],
    xyxy in network-input pixels, and `labels` int64 [n], 0-based; n may be 0.
    """

    output_names: ClassVar[tuple[str, ...]]
    nms_in_graph: ClassVar[bool]

    @property
    def name(self) -> str:
        """The catalogue name."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the labels."""

    @property
    def input(self) -> InputPolicy:
        """How an image becomes the network's input."""

    @property
    def options(self) -> dict[str, Any]:
        """Everything else that is needed to build and to read the same network again; what else the loss is told is the recipe's."""

    def build(self) -> nn.Module:
        """Build the network with random weights drawn from torch's generator."""

    def loss(self, model: nn.Module, images: Tensor, targets: Sequence[Target]) -> Loss:
        """Return the loss of a model in train mode.

        Where autocast is on, what the network says becomes fp32 before anything is made of it: a box in bf16 knows whole pixels at best.
        """

    def forward(self, model: nn.Module, images: Tensor) -> tuple[Tensor, ...]:
        """Return the raw outputs of a model in eval mode, in the order of `output_names`; the first axis is the image."""

    def export_module(self, model: nn.Module) -> nn.Module:
        """Return a module in eval mode from images to the outputs of `forward`: what is exported, timed and counted.

        Parts that are there for training alone are not in it.
        """

    def postprocess(self, raw: tuple[Tensor, ...], **limits: Unpack[Limits]) -> list[Detections]:
        """Turn raw outputs into detections, one an image, boxes in network-input pixels."""

    def count_forward(self, model: nn.Module, images: Tensor) -> None:
        """Run the part whose multiply-accumulates are counted; it must work on the meta device, where no value is known."""

    def param_groups(self, model: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
        """Return groups for the optimizer; norms and biases do not decay."""


def at_size(adapter: DetectorAdapter, height: int, width: int) -> DetectorAdapter:
    """Return the adapter that reads the same network at another input size: anchors, points and grids are laid over that size.

    Raises:
        InvalidInput: the family cannot have this size, or its network is another one there.
    """
    policy = adapter.input
    if (policy.height, policy.width) == (height, width):
        return adapter
    other = replace(adapter, input=policy.model_copy(update={"height": height, "width": width}))  # type: ignore[type-var]
    with torch.device("meta"):
        shapes = [{name: tensor.shape for name, tensor in one.build().state_dict().items()} for one in (adapter, other)]
    if shapes[0] != shapes[1]:
        raise InvalidInput(f"the network of {adapter.name} depends on the size of its input, so it cannot change; set 'multi_scale' to 0")
    return other


def split_decay(model: nn.Module, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """Put weights of convolutions and linear layers in a group that decays, norms and biases (one axis or none) in one that does not."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1], "lr": lr, "weight_decay": weight_decay},
        {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "lr": lr, "weight_decay": 0.0},
    ]


def refuse_compact_options(name: str, **options: object) -> None:
    """Raise InvalidInput where an option of the compact variants was given to a published one, whose size is fixed."""
    for option, value in options.items():
        if value is not None:
            raise InvalidInput(f"{name} has a published size, so it takes no option '{option}'; leave it out or use a compact variant")


class HasAnchors(Protocol):
    """An adapter whose anchors are options."""

    @property
    def name(self) -> str:
        """The catalogue name."""

    @property
    def variant(self) -> str:
        """Which of the family's networks."""

    @property
    def anchor_sizes(self) -> PerLevel | None:
        """In pixels for each level; None takes the variant's."""

    @property
    def aspect_ratios(self) -> PerLevel | None:
        """Height / width for each level; None takes the variant's."""


def checked_anchors(adapter: HasAnchors, family: str, neck: Neck | None = None) -> dict[str, Any]:
    """Return the anchors and the neck that were given, as a manifest holds them; raises InvalidInput where the network cannot have them."""
    options = AnchorOptions(anchor_sizes=adapter.anchor_sizes, aspect_ratios=adapter.aspect_ratios, neck=neck)
    check_anchors(adapter.name, family, adapter.variant, options)
    return options.given()


def anchor_generator(adapter: HasAnchors, family: str, neck: Neck | None = None) -> AnchorGenerator:
    """Return torchvision's generator of the anchors of a variant, or of those given."""
    rule = rule_under(adapter.name, family, adapter.variant, neck)
    assert isinstance(rule, AnchorRule)
    return AnchorGenerator(adapter.anchor_sizes or rule.sizes, adapter.aspect_ratios or rule.ratios)


def objects_of(given: Tensor, targets: Sequence[Target]) -> Tensor:
    """Return the boxes [positives, 4] that the positives of a batch are trained on, in the order of `given` [images, places]."""
    return torch.cat([target["boxes"][one[one >= 0]] for one, target in zip(given, targets, strict=True)])


def as_image_list(images: Tensor) -> ImageList:
    """Wrap a batch of equal size the way torchvision's parts expect it."""
    height, width = images.shape[-2:]
    return ImageList(images, [(int(height), int(width))] * images.shape[0])


def feature_shapes(backbone: nn.Module, policy: InputPolicy) -> list[tuple[int, int]]:
    """Return height and width of each feature level of a backbone on the meta device, for the input of `policy`."""
    with torch.no_grad():
        features = backbone.eval()(torch.zeros(1, 3, policy.height, policy.width, device="meta"))
    return [(level.shape[-2], level.shape[-1]) for level in features.values()]


def fixed_anchors(generator: nn.Module, shapes: Sequence[tuple[int, int]], policy: InputPolicy) -> Tensor:
    """Return the anchors [places, 4], xyxy in network-input pixels, of levels with these heights and widths."""
    image = as_image_list(torch.empty(1, 3, policy.height, policy.width))
    return generator(image, [torch.empty(1, 1, height, width) for height, width in shapes])[0]


class RawOutputs(nn.Module):
    """A network seen from outside: images in, the adapter's raw outputs out."""

    def __init__(self, adapter: DetectorAdapter, model: nn.Module) -> None:
        super().__init__()
        self.adapter = adapter
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.adapter.forward(self.model, images)
