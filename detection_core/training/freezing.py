"""Parts of a network that are not trained."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from detection_core.schemas.base import InvalidInput


def freeze(model: nn.Module, names: Sequence[str]) -> tuple[nn.Module, ...]:
    """Take parts of a network out of the training, by the beginning of their weights' names.

    Args:
        names: whole steps of a name: "backbone.body.layer1" freezes that and what lies in it, not "backbone.body.layer10".

    Returns:
        The modules that must stay in eval mode, or their norms would go on learning statistics.

    Raises:
        InvalidInput: a name begins none of the weights' names, or nothing is left to train.
    """
    for name in names:
        chosen = [weight for key, weight in model.named_parameters() if _begins(name, key)]
        if not chosen:
            parts = ", ".join(key for key, part in model.named_children() if any(True for _ in part.parameters()))
            raise InvalidInput(f"'freeze' names '{name}', which begins no weight of this network; its parts are {parts}")
        for weight in chosen:
            weight.requires_grad_(False)
    if not any(weight.requires_grad for weight in model.parameters()):
        raise InvalidInput("'freeze' leaves nothing to train; leave out at least one part")
    return tuple(module for key, module in model.named_modules() if any(_begins(name, key) for name in names))


def _begins(name: str, key: str) -> bool:
    return key == name or key.startswith(name + ".")
