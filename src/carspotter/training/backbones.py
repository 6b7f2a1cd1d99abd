"""Backbones: which there are, what may be done with them, and how they are loaded.

Three sources, one card: a registry package that ships the weights (works without network), a model hub, or a local
safetensors file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import timm
from torch import nn

from carspotter.data.disk import hash_file
from carspotter.errors import BackboneError
from carspotter.records import BackboneCard
from carspotter.training.kept import kept_card, kept_cards, kept_folder
from carspotter.training.units import units
from carspotter.training.weights import PACKAGES, fill, is_here, read_weights, weight_file

__all__ = ["RANDOM", "backbone_cards", "find_backbone", "is_here", "load_backbone", "resize_backbone", "weights_hash"]

RANDOM = "random"
"""As `weights`: start from random numbers. For tests and for training from nothing."""

ALIASES = {"xception": "legacy_xception"}  # timm renamed Keras' Xception (1.0)

SHOWN = (
    "tf_efficientnet_b0.ns_jft_in1k",
    "tf_efficientnet_b3.ns_jft_in1k",
    "legacy_xception",
    "tf_efficientnetv2_s.in21k_ft_in1k",
    "convnext_tiny.in12k_ft_in1k",
    "vit_small_patch14_dinov2",
)
"""Hub models that `carspotter backbones` lists besides the packaged ones: the seed's three, and one of each kind that
does well on fine-grained photos. Any other timm name works as well."""

MADE_BY_RECIPE = {"car-lite0": "carspotter pretrain SOURCE --name car-lite0"}
"""Own backbones that packaged recipes start from."""

_COMMERCIAL: dict[str, Literal["yes", "no"]] = {
    "apache-2.0": "yes",
    "mit": "yes",
    "bsd-3-clause": "yes",
    "cc-by-4.0": "yes",
    "cc-by-nc-4.0": "no",
    "cc-by-nc-sa-4.0": "no",
}


def backbone_cards() -> tuple[BackboneCard, ...]:
    """The packaged backbones, the user's own, then the hub's that are worth naming."""
    packaged, hub = (tuple(find_backbone(name) for name in names) for names in (PACKAGES, SHOWN))
    return (*packaged, *kept_cards(), *hub)


def find_backbone(name: str, weights: str | None = None) -> BackboneCard:
    """The card of a timm model, or of one in the user's backbone folder.

    Args:
        name: timm's name, with or without the tag after the dot, or the name of an own backbone.
        weights: a local safetensors file, `random`, or None for the model's own source.

    Raises:
        BackboneError: no such model, or the file is not safetensors.
    """
    if weights is None and (kept := kept_card(name)) is not None:
        return kept
    name = ALIASES.get(name, name)
    if not timm.is_model(name):
        if name in MADE_BY_RECIPE:
            raise BackboneError(
                f"there is no backbone {name!r} in {kept_folder()} yet; make it once: {MADE_BY_RECIPE[name]}"
            )
        near = ", ".join(timm.list_models(f"*{name.split('.')[0]}*")[:5]) or "see timm.list_models()"
        raise BackboneError(f"timm has no model {name!r}; near names: {near}")
    if weights == RANDOM:
        return _card(name, source="none", origin="random numbers", licence="none", commercial_use="yes")
    if weights is not None:
        return _file_card(name, Path(weights))
    if name in PACKAGES:
        return _package_card(name)
    licence, commercial = _licence(name)
    return _card(name, source="hub", origin=_hub_origin(name), licence=licence, commercial_use=commercial)


def _card(name: str, **fields: Any) -> BackboneCard:
    settings = timm.models.get_pretrained_cfg(name)
    if settings is None:
        raise BackboneError(f"timm knows {name!r} but no settings for it; name a tag as in `timm.list_pretrained()`")
    _, height, width = settings.input_size
    defaults: dict[str, Any] = {"height": height, "width": width, "crop": settings.crop_pct, "sha256": None}
    defaults |= {"mean": settings.mean, "std": settings.std}
    return BackboneCard(name=name, **(defaults | fields))


def _package_card(name: str) -> BackboneCard:
    package = PACKAGES[name]
    return _card(
        name,
        source="package",
        origin=f"{package.distribution} 0.1.0",
        sha256=package.sha256,
        licence="Apache-2.0",
        commercial_use="yes",
        parameters=package.parameters,
        height=package.size,
        width=package.size,
        crop=package.crop,
    )


def _file_card(name: str, path: Path) -> BackboneCard:
    if path.suffix != ".safetensors":
        raise BackboneError(f"{path}: weights are read from .safetensors only; a pickle can run code when it is opened")
    if not path.is_file():
        raise BackboneError(f"{path}: no such weight file")
    return _card(
        name,
        source="file",
        origin=str(path),
        sha256=hash_file(path),
        licence="unknown",
        commercial_use="unclear",
    )


def _licence(name: str) -> tuple[str, Literal["yes", "no", "unclear"]]:
    settings = timm.models.get_pretrained_cfg(name)
    licence = (settings.license if settings else None) or "unknown"
    return licence, _COMMERCIAL.get(licence.lower(), "unclear")


def _hub_origin(name: str) -> str:
    """The hub repository of a model, or the address of its weight file where it has none."""
    settings = timm.models.get_pretrained_cfg(name)
    origin = settings and (settings.hf_hub_id or settings.url)
    if not origin:
        raise BackboneError(f"no published weights for {name!r}; give a local file with --set weights=FILE.safetensors")
    return cast("str", origin)


def load_backbone(
    card: BackboneCard, *, height: int, width: int, drop_path: float = 0.0
) -> tuple[nn.Module, BackboneCard]:
    """The network without its classifier, and its card completed by what loading told.

    Args:
        card: from `find_backbone`.
        height: rows of the coming photos; matters to networks of a fixed size.
        width: columns of the coming photos.
        drop_path: stochastic depth in training (G. Huang et al., ECCV 2016): share at the last block, rising from 0 at
            the first.

    Raises:
        BackboneError: it has no stochastic depth, or weights are missing, altered, out of reach, or of another network.
    """
    net = _empty(card.name, drop_path)
    sha256 = card.sha256
    if card.source != "none":
        path = weight_file(card)
        sha256 = sha256 or hash_file(path)
        fill(net, read_weights(path), card.name)
    resize_backbone(net, height, width)  # after filling: a ViT's learned positions are resampled to the new size
    parameters = sum(p.numel() for p in net.parameters())
    points = tuple(name for name, _ in units(net))
    return net, card.model_copy(update={"sha256": sha256, "parameters": parameters, "freeze_points": points})


def _empty(name: str, drop_path: float) -> nn.Module:
    """The network with random weights and no classifier."""
    if not drop_path:
        return timm.create_model(name, pretrained=False, num_classes=0)
    try:
        return timm.create_model(name, pretrained=False, num_classes=0, drop_path_rate=drop_path)
    except TypeError:
        raise BackboneError(f"{name} has no stochastic depth in timm; set drop_path = 0") from None


def weights_hash(card: BackboneCard) -> str:
    """sha256 that tells a card's weights from all others; empty for random numbers.

    Raises:
        BackboneError: they are missing, altered, or out of reach.
    """
    if card.source == "none":
        return ""
    return card.sha256 or hash_file(weight_file(card))


def resize_backbone(net: nn.Module, height: int, width: int) -> None:
    """Tell a network of a fixed photo size (ViT, Swin) the new one; others take any."""
    set_size = getattr(net, "set_input_size", None)
    if callable(set_size):
        set_size(img_size=(height, width))
