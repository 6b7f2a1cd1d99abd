"""A recipe decides everything about a training: TOML in, one typed object, saved whole with the run.

Only the builder (`training/train.py`) sees a `Recipe`; the loop takes one `Stage`, everything else plain values.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from carspotter.errors import RecipeError
from carspotter.settings import apply_setting, parse_toml

Fit = Literal["pad", "crop", "stretch"]
Frame = Literal["whole", "car"]
Light = Literal["as it is", "stretched"]
MIN_ZOOM = 0.1
"""Assumption: a photo shown at a tenth of its size has nothing left to learn, and its border costs 100 photos."""
WRONG_COST = 5.0
"""Photos that a person looks at for the cost of one wrong name. Assumption: looking takes seconds, a wrong call a
drive."""
MAX_SHOWN = 200
"""Characters of a wrong value in a message (assumption: a line that can be read)."""
Span = Annotated[tuple[float, float], Field(description="[low, high], drawn evenly")]


class Part(BaseModel):
    """Base of a recipe's tables: frozen; an unknown key, infinity and not-a-number are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SplitRecipe(Part):
    """How the labelled photos are divided."""

    method: Literal["holdout", "folds", "none"] = Field(
        "holdout",
        description="one hold-out, or k folds of which one validates; none: every photo trains, after folds have told "
        "what the recipe is worth",
    )
    share: float = Field(0.15, gt=0, lt=0.9, description="holdout: part of the photos that validates")
    folds: int = Field(5, ge=2, le=50, description="folds: how many")
    fold: int = Field(0, ge=0, description="folds: which one validates, from 0")
    seed: int | None = Field(
        None, ge=0, le=2**31 - 1, description="of the division alone, so that seeds can be compared; None: the recipe's"
    )

    @model_validator(mode="after")
    def _fold_exists(self) -> SplitRecipe:
        if self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} does not exist among {self.folds} folds (0..{self.folds - 1})")
        return self


class HeadRecipe(Part):
    """What sits on the backbone's feature map."""

    pooling: Literal["avg", "max", "avgmax", "own"] = Field(
        "avg", description="how the feature map becomes one vector; own: as the backbone does it (ViT, ConvNeXt)"
    )
    hidden: int = Field(0, ge=0, le=8192, description="width of one hidden layer; 0: the head is linear")
    hidden_bias: bool = Field(True, description="bias of the hidden layer")
    batchnorm: bool = Field(False, description="BatchNorm after the hidden layer (or before the linear one)")
    activation: Literal["relu", "silu", "gelu"] = Field("relu", description="after the hidden layer")
    dropout: float = Field(0.2, ge=0, lt=1, description="share of inputs of the last layer dropped in training")
    bias: bool = Field(True, description="bias of the last layer")
    l1: float = Field(0.0, ge=0, description="weight of the sum of |w| over the head's matrices, added to the loss")
    l2: float = Field(0.0, ge=0, description="weight of the sum of w² over the head's matrices, added to the loss")


class AugmentRecipe(Part):
    """Random views of a training photo; validation never sees one."""

    rotation: float = Field(0.0, ge=0, le=180, description="degrees either way")
    shift_x: float = Field(0.0, ge=0, le=0.9, description="share of the width either way")
    shift_y: float = Field(0.0, ge=0, le=0.9, description="share of the height either way")
    zoom: Span = Field((1.0, 1.0), description=f"scale factors from {MIN_ZOOM} up; above 1 is closer")
    brightness: Span = Field((1.0, 1.0), description="factors on the pixel values")
    flip: bool = Field(False, description="mirror left-right for half of the views")
    policy: Literal["none", "trivial", "rand"] = Field(
        "none", description="a stronger policy on top: TrivialAugmentWide or RandAugment (torchvision)"
    )
    erase: float = Field(0.0, ge=0, le=1, description="probability of erasing a random rectangle")

    @model_validator(mode="after")
    def _spans_are_sound(self) -> AugmentRecipe:
        for name in ("zoom", "brightness"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} = [{low}, {high}]: needs 0 < low <= high")
        if self.zoom[0] < MIN_ZOOM:
            raise ValueError(f"zoom = [{self.zoom[0]}, {self.zoom[1]}]: needs low >= {MIN_ZOOM}")
        return self


class ScheduleRecipe(Part):
    """How the learning rate moves within a stage."""

    kind: Literal["constant", "steps", "cosine", "onecycle", "plateau"] = Field(
        "cosine",
        description="steps: factor^floor((1+epoch)/every), the seed's; plateau: factor after `patience` epochs "
        "without a better validation loss",
    )
    factor: float = Field(0.9048374180359596, gt=0, le=1, description="steps, plateau; the seed's is e^-0.1")
    every: int = Field(3, ge=1, description="steps: epochs per step")
    patience: int = Field(2, ge=1, description="plateau: epochs to wait")
    warmup: float = Field(0.0, ge=0, lt=1, description="share of the stage that rises linearly from 0 to the full rate")
    floor: float = Field(0.0, ge=0, le=1, description="cosine, onecycle: last rate as a share of the full rate")


class Stage(Part):
    """One phase of a training."""

    name: str = Field(min_length=1, description="shown in histories")
    trains: str = Field(
        "all",
        description="'head', 'all', or a freeze point: trains from there up ('block5a', 'blocks.4', or '99%': the "
        "fewest upper units that hold so many of the parameters)",
    )
    epochs: int = Field(ge=0, le=10_000, description="0 skips the stage")
    height: int = Field(ge=32, le=2048, description="rows of the photo, pixels")
    width: int = Field(ge=32, le=2048, description="columns of the photo, pixels")
    batch: int = Field(32, ge=4, le=4096, description="photos per step")
    optimizer: Literal["adam", "amsgrad", "adamax", "nadam", "adamw", "sgd"] = Field(
        "adamw", description="sgd: momentum .9"
    )
    lr: float = Field(gt=0, le=10, description="full learning rate of the head")
    backbone_lr: float | None = Field(
        None, gt=0, description="full rate of the backbone's last unit; None: as the head"
    )
    layer_decay: float = Field(
        1.0, gt=0, le=1, description="each unit further down learns at this share of the one above"
    )
    weight_decay: float = Field(0.0, ge=0, description="of matrices; biases and norms are spared")
    clip: float = Field(0.0, ge=0, description="largest gradient norm; 0: no clipping")
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="share of the target spread over all classes")
    mixup: float = Field(0.0, ge=0, description="alpha of Beta(alpha, alpha); 0: none")
    cutmix: float = Field(0.0, ge=0, description="alpha of Beta(alpha, alpha); 0: none")
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the weights' moving average per step; 0: none")
    freeze_batchnorm: bool = Field(False, description="keep BatchNorm statistics even where weights train")
    views: int = Field(
        4,
        ge=0,
        le=64,
        description="augmented views per photo whose way through the frozen part is computed once; 0: fresh views in "
        "every epoch, the frozen part runs each time",
    )
    early_stop: int = Field(
        0, ge=0, description="stop after this many epochs without better validation accuracy; 0: never"
    )
    keep: Literal["best", "last"] = Field(
        "last", description="weights handed on: best validation accuracy, or the last"
    )
    augment: AugmentRecipe = Field(default_factory=AugmentRecipe)
    schedule: ScheduleRecipe = Field(default_factory=ScheduleRecipe)

    @property
    def asks_validation(self) -> bool:
        """Whether the validation photos have a say in the weights, so that figures on them are too good."""
        return self.keep == "best" or self.early_stop > 0 or self.schedule.kind == "plateau"

    @model_validator(mode="after")
    def _a_head_learns_from_vectors(self) -> Stage:
        idle = [name for name, value in (("mixup", self.mixup), ("cutmix", self.cutmix)) if value]
        if self.trains == "head" and idle:
            raise ValueError(
                f"stage {self.name!r} trains the head on vectors computed once, which {' and '.join(idle)} cannot mix; "
                "leave it out, or train more than the head"
            )
        return self


class Recipe(Part):
    """Everything that decides a training, together with the data."""

    name: str = Field(min_length=1, max_length=80, description="shown in the run list; part of the model folder's name")
    about: str = Field("", description="one sentence: what it is for, what it costs and reaches")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="of split, initial weights, order and views")
    threads: int = Field(0, ge=0, le=1024, description="CPU threads; 0: all cores; part of what makes a run repeatable")
    shards: int = Field(
        1,
        ge=1,
        le=64,
        description="parts of each batch that are computed side by side, each with BatchNorm statistics of its own; "
        "on how many threads or processes changes nothing",
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        "fp32", description="of the network's arithmetic in training; the shipped net is fp32; fp16 needs CUDA"
    )
    compile: bool = Field(False, description="let torch compile the network; pays on CUDA, costs minutes at first")
    outside_weight: float = Field(
        1.0, gt=0, le=100, description="weight in the loss of a photo from outside (`train --extra`); the source's is 1"
    )
    pseudo_bar: float = Field(
        0.9, gt=0, le=1, description="least probability at which a teacher's label is believed (`train --teacher`)"
    )
    pseudo_weight: float = Field(0.5, gt=0, le=100, description="weight in the loss of a photo that a teacher labelled")
    distil: float = Field(
        0.0,
        ge=0,
        le=1,
        description="share of a photo's target that is what a teacher says of it (`train --teacher`)",
    )
    distil_temperature: float = Field(
        2.0, ge=1, le=50, description="the teacher's logits are divided by it: above 1 it tells more of other classes"
    )
    wrong_cost: float = Field(
        WRONG_COST,
        gt=1,
        le=10_000,
        description="of one wrong name, in photos that a person looks at: a model is named where that costs less",
    )
    frame: Frame = Field(
        "whole",
        description="what of a photo is shown: all of it, or (car) the part in which an ImageNet net sees a vehicle",
    )
    light: Light = Field(
        "as it is",
        description="stretched: the darkest of each photo to black, the brightest to white, in training and in use; "
        "gives night photos back what darkness takes",
    )
    fit: Fit = Field("pad", description="how what is shown becomes the rectangle, where its aspect ratio is another")
    backbone: str = Field("tf_efficientnet_lite0", description="a timm model name, see `carspotter backbones`")
    weights: str | None = Field(
        None, description="a local safetensors file for the backbone instead of its own source; 'random': none"
    )
    drop_path: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="stochastic depth: share of the last block's photos that skip it in training; needs shards = 1",
    )
    logit_adjustment: float = Field(
        0.0,
        ge=0,
        le=4,
        description="how strongly rare classes are favoured in training (tau of Menon et al. 2021); 0: not",
    )
    split: SplitRecipe = Field(default_factory=SplitRecipe)
    head: HeadRecipe = Field(default_factory=HeadRecipe)
    stage: tuple[Stage, ...] = Field(
        min_length=1, description="phases, in order; the last that trains gives the bundle its size"
    )

    @property
    def split_seed(self) -> int:
        """What the division of the photos is drawn from."""
        return self.seed if self.split.seed is None else self.split.seed

    @field_validator("stage")
    @classmethod
    def _stages_are_told_apart(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        names = [stage.name for stage in stages]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two stages are called {twice[0]!r}; histories and times could not tell them apart")
        if not any(stage.epochs for stage in stages):
            raise ValueError("every stage has 0 epochs; nothing would be trained")
        return stages

    @model_validator(mode="after")
    def _nothing_waits_for_figures_that_never_come(self) -> Recipe:
        waits = [s.name for s in self.stage if s.epochs and s.asks_validation]
        if self.split.method == "none" and waits:
            raise ValueError(
                f"stage {waits[0]!r} keeps the best epoch, stops early or lowers its rate by validation photos, and "
                "split.method = none leaves none; set keep = last, early_stop = 0 and another schedule"
            )
        return self

    @model_validator(mode="after")
    def _chance_is_drawn_in_one_place(self) -> Recipe:
        if self.drop_path and self.shards > 1:
            raise ValueError(
                f"drop_path = {self.drop_path} with {self.shards} shards: they draw from one source of chance side by "
                "side, and no training could be repeated; set shards = 1"
            )
        return self

    @field_validator("name")
    @classmethod
    def _name_is_no_path(cls, name: str) -> str:
        if not name.isprintable() or "/" in name or "\\" in name:
            raise ValueError("part of a folder's name: needs printable characters without / and \\")
        return name


def packaged_recipes() -> tuple[str, ...]:
    """Names of the recipes that ship with the package."""
    folder = resources.files("carspotter") / "recipes"
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))


def load_recipe(name: str | Path, settings: Sequence[str] = ()) -> Recipe:
    """Read a packaged recipe by name, or a TOML file by path, and apply settings on top.

    Args:
        name: `fast`, `seed`, …, or a path that ends in `.toml`.
        settings: `path=value` texts as in `--set stage.0.lr=3e-3`; the value is TOML, or else plain text.

    Raises:
        RecipeError: every fault at once: not found, not TOML, unknown keys, values out of range.
    """
    text, origin = _recipe_text(name)
    try:
        tree = parse_toml(text)
    except ValueError as fault:
        raise RecipeError(f"{origin} is not TOML: {fault}") from None
    refused = [sentence for setting in settings if (sentence := apply_setting(tree, setting))]
    if refused:
        raise RecipeError(refused)
    return validate_recipe(tree, origin)


def validate_recipe(tree: dict[str, Any], origin: str) -> Recipe:
    """A typed recipe from plain values.

    Raises:
        RecipeError: every fault at once, each naming its key.
    """
    try:
        return Recipe.model_validate(tree)
    except ValidationError as fault:
        # Where every stage has a fault, pydantic adds that none is left; the faults themselves say more.
        errors = [dict(error) for error in fault.errors() if error["type"] != "too_short" or not error["input"]]
        raise RecipeError([f"{origin}: {_sentence(error)}" for error in errors]) from None


def recipe_settings(recipe: Recipe) -> dict[str, Any]:
    """Every setting by its dotted key, as `--set` names it."""
    return _flat(recipe.model_dump(mode="json"))


def recipe_differences(a: Recipe, b: Recipe) -> dict[str, tuple[Any, Any]]:
    """Settings in which two recipes differ: dotted key → (value in a, value in b); None where absent."""
    left, right = recipe_settings(a), recipe_settings(b)
    keys = [*left, *(key for key in right if key not in left)]
    return {key: (left.get(key), right.get(key)) for key in keys if left.get(key) != right.get(key)}


def _recipe_text(name: str | Path) -> tuple[str, str]:
    path = Path(name)
    try:
        if path.suffix == ".toml":
            return path.read_text(encoding="utf-8"), str(path)
        packaged = resources.files("carspotter") / "recipes" / f"{name}.toml"
        if str(name) in packaged_recipes():
            return packaged.read_text(encoding="utf-8"), f"recipe {name}"
    except (OSError, ValueError) as fault:  # not UTF-8, or a NUL in the name
        raise RecipeError(f"cannot read recipe {str(name)!r}: {fault}") from None
    known = ", ".join(packaged_recipes())
    raise RecipeError(f"there is no recipe {str(name)!r}; name one of {known}, or a path that ends in .toml")


def _sentence(error: dict[str, Any]) -> str:
    where = ".".join(str(step) for step in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"unknown key {where!r}"
    if error["type"] == "missing":
        return f"{where!r} is missing"
    message = error["msg"].removeprefix("Value error, ")
    shown = _given(error.get("input"))
    return f"{where}: {message}{shown}" if where else f"{message}{shown}"


def _given(value: Any) -> str:
    """What stood there, for the end of a sentence."""
    if isinstance(value, dict | list):
        return ""
    try:
        text = json.dumps(value, default=str)
    except ValueError:  # hexadecimal, and beyond what Python writes in decimal digits
        return " (got a number of thousands of digits)"
    return f" (got {text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + '…'})"


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict):
        items: Any = value.items()
    elif isinstance(value, list) and any(isinstance(item, dict) for item in value):
        items = enumerate(value)
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in items:
        flat |= _flat(item, f"{prefix}.{key}" if prefix else str(key))
    return flat
