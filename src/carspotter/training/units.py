"""The parts of a backbone in forward order: what can be frozen, and by which names."""

from __future__ import annotations

import re
from collections.abc import Sequence

from torch import nn

from carspotter.errors import BackboneError

_CONTAINERS = ("blocks", "stages", "layers")
_CLASSIFIERS = ("global_pool", "classifier", "fc", "head", "head_drop", "head_dist", "pre_logits")


def units(net: nn.Module) -> tuple[tuple[str, nn.Module], ...]:
    """The parts of a backbone in forward order, by the names that freeze points use.

    timm's stages (`blocks.4`) are one unit each; the layers around them are units of their own.
    """
    found: list[tuple[str, nn.Module]] = []
    for name, child in net.named_children():
        if name in _CONTAINERS:
            found += [(f"{name}.{part}", module) for part, module in child.named_children()]
        elif name not in _CLASSIFIERS:
            found.append((name, child))
        else:  # ConvNeXt keeps its last norm beside the classifier
            found += [(f"{name}.{part}", module) for part, module in child.named_children() if _learns(module)]
    return tuple(found)


def _learns(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def find_freeze_point(net: nn.Module, point: str) -> int:
    """The index in `units` from which a stage trains.

    Args:
        net: a backbone.
        point: 'all' (0), 'head' (all units frozen), a unit's name (`blocks.4`, `layer3`), the Keras name of an
            EfficientNet block (`block5a` is timm's `blocks.4`), or a share of the parameters (`99%`: the fewest upper
            units that hold as much), which any backbone has.

    Raises:
        BackboneError: there is no such point; the message lists those there are.
    """
    parts = units(net)
    names = [name for name, _ in parts]
    if point in ("all", "head"):
        return 0 if point == "all" else len(names)
    keras = re.fullmatch(r"block(\d+)a", point)
    timm_name = f"blocks.{int(keras[1]) - 1}" if keras else point
    if point in names or timm_name in names:
        return names.index(point if point in names else timm_name)
    if (share := re.fullmatch(r"(\d{1,3})%", point)) and 0 < int(share[1]) <= 100:
        return _holding(int(share[1]) / 100, [module for _, module in parts])
    raise BackboneError(
        f"there is no freeze point {point!r}; name 'head', 'all', a share of the parameters as in '99%', or one of "
        f"{', '.join(names)}"
    )


def _holding(share: float, parts: Sequence[nn.Module]) -> int:
    """Where the fewest upper units begin that hold that share of all parameters."""
    sizes = [sum(p.numel() for p in module.parameters()) for module in parts]
    wanted, held = share * sum(sizes), 0
    for at in range(len(parts) - 1, -1, -1):
        held += sizes[at]
        if held >= wanted:
            return at
    return 0
