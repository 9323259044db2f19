from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from grainhash import Box, Encoder
from grainhash.encoder.encoder import Query
from grainhash.encoder.granules import WHOLE_ONLY, GranuleSettings, Grid
from grainhash.errors import EncoderError, InputError, PictureDamaged, PictureTooLarge
from grainhash.hashing.function import Affine, HashFunction
from grainhash.images import Limits


@pytest.fixture
def folder(tmp_path, encoder):
    """A copy of the shipped encoder's folder, to be damaged."""
    encoder.save(tmp_path / "encoder")
    return tmp_path / "encoder"


def other_hash(encoder, n_bits=64):
    rng = np.random.default_rng(0)
    n_features = encoder.hash_function.n_features
    weight = rng.standard_normal((n_features, n_bits)).astype(np.float32)
    return HashFunction([Affine(weight, np.zeros(n_bits, np.float32))], "random")


def test_the_shipped_encoder_loads(encoder):
    assert (encoder.n_bits, encoder.granules.n_usual) == (256, 17)
    assert encoder.config.name
    assert encoder.config.provenance
    assert len(encoder.fingerprint) == 64
    assert Encoder.load().fingerprint == encoder.fingerprint


def test_whatever_decides_a_code_changes_the_fingerprint_and_nothing_else_does(encoder, folder):
    from dataclasses import replace

    config = encoder.config
    network = replace(config.network, mean=tuple(value + 1 for value in config.network.mean))
    others = [
        encoder.with_granules(WHOLE_ONLY),
        encoder.with_granules(GranuleSettings(grids=(Grid(2, 0.61),))),
        encoder.with_hash_function(other_hash(encoder), {}),
        encoder.with_hash_function(other_hash(encoder, 128), {}),
        Encoder(encoder.folder, replace(config, network_sha256="0" * 64), encoder.hash_function),
        Encoder(encoder.folder, replace(config, network=network), encoder.hash_function),
        Encoder(encoder.folder, replace(config, features="other"), encoder.hash_function),
    ]
    assert len({encoder.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)
    renamed = replace(config, name="other", provenance={})
    assert Encoder(encoder.folder, renamed, encoder.hash_function).fingerprint == encoder.fingerprint
    assert encoder.with_granules(encoder.granules).fingerprint == encoder.fingerprint


def test_a_saved_encoder_loads_as_the_same(encoder, tmp_path, photographs):
    changed = encoder.with_granules(WHOLE_ONLY).with_hash_function(other_hash(encoder), {"method": "random"})
    changed.save(tmp_path / "a")
    loaded = Encoder.load(tmp_path / "a")
    assert (loaded.fingerprint, loaded.config) == (changed.fingerprint, changed.config)
    query = photographs / "things/coffee.png"
    np.testing.assert_array_equal(loaded.encode_query(query), changed.encode_query(query))
    loaded.save(tmp_path / "a")  # over itself
    assert Encoder.load(tmp_path / "a").fingerprint == changed.fingerprint
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "encoder.json", "hash.safetensors", "network.onnx",
    ]  # fmt: skip


def test_a_save_that_fails_leaves_the_folder_as_it_was(encoder, folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def half(self, path):
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(HashFunction, "save", half)
    with pytest.raises(OSError, match="No space"):
        encoder.with_granules(WHOLE_ONLY).save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(EncoderError, match="no encoder there"):
        Encoder.load(tmp_path / "none")


@pytest.mark.parametrize(
    "damage",
    [
        lambda document: document.update(format_version=99),
        lambda document: document.pop("granules"),
        lambda document: document["granules"].update(more=1),
        lambda document: document["network"].update(more=1),
        lambda document: document["granules"]["grids"].append({"n": 0, "side": 0.5}),
        lambda document: document.update(network=None),
    ],
)
def test_a_damaged_description_is_refused(folder, damage):
    document = json.loads((folder / "encoder.json").read_text())
    damage(document)
    (folder / "encoder.json").write_text(json.dumps(document))
    with pytest.raises(EncoderError):
        Encoder.load(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_description_that_is_no_json_object_is_refused(folder, content):
    (folder / "encoder.json").write_bytes(content)
    with pytest.raises(EncoderError, match=r"encoder\.json cannot be read"):
        Encoder.load(folder)


def test_a_damaged_hash_function_is_refused(folder):
    content = (folder / "hash.safetensors").read_bytes()
    (folder / "hash.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(EncoderError, match="hash"):
        Encoder.load(folder)
    (folder / "hash.safetensors").unlink()
    with pytest.raises(EncoderError, match="hash"):
        Encoder.load(folder)


def test_a_network_that_is_not_the_described_one_is_refused(folder):
    content = (folder / "network.onnx").read_bytes()
    (folder / "network.onnx").write_bytes(content[:-1] + b"x")
    with pytest.raises(EncoderError, match="not the network"):
        _ = Encoder.load(folder).network
    (folder / "network.onnx").unlink()
    with pytest.raises(EncoderError, match=r"network\.onnx"):
        _ = Encoder.load(folder).network


def test_a_hash_function_that_does_not_fit_the_network_is_refused(encoder, photographs):
    weight = np.ones((7, 64), np.float32)
    narrow = encoder.with_hash_function(HashFunction([Affine(weight, np.zeros(64, np.float32))], "x"), {})
    with pytest.raises((EncoderError, ValueError), match="7"):
        narrow.encode(photographs / "things/coffee.png")


# Codes


def test_shapes(encoder, photographs):
    codes = encoder.encode(photographs / "things/coffee.png")
    assert (codes.width, codes.height) == (600, 400)
    assert (codes.whole.shape, codes.regions.shape, codes.boxes.shape) == ((32,), (16, 32), (16, 4))
    assert {codes.whole.dtype, codes.regions.dtype} == {np.dtype(np.uint8)}
    assert encoder.codes([]) == []


def test_a_picture_has_the_same_code_alone_and_among_others(encoder, photographs):
    paths = sorted(photographs.rglob("*.*"))[:6]
    together = encoder.codes([encoder.cut(path) for path in paths])
    for path, codes in zip(paths, together, strict=True):
        alone = encoder.encode(path)
        np.testing.assert_array_equal(alone.whole, codes.whole)
        np.testing.assert_array_equal(alone.regions, codes.regions)


def test_a_query_has_the_code_that_is_stored(encoder, photographs):
    for name in ("things/coffee.png", "places/china.jpg", "medicine/retina.jpg"):
        codes = encoder.encode(photographs / name)
        np.testing.assert_array_equal(encoder.encode_query(photographs / name), codes.whole)
        for box, code in list(zip(codes.boxes, codes.regions, strict=True))[::5]:
            query = encoder.encode_query(photographs / name, region=Box(*map(float, box)))
            np.testing.assert_array_equal(query, code)


def test_regions_are_tiles_then_boxes_that_are_given_then_proposals(encoder, photographs):
    path = photographs / "things/coffee.png"
    plain = encoder.encode(path)
    tiles, proposed = plain.boxes[:4], plain.boxes[4:]
    given = Box(0.05, 0.5, 0.3, 0.98)
    granules = encoder.cut(
        path, boxes=[given, Box(0, 0, 0.58, 0.6), given]
    )  # a tile's likeness, and a double
    assert granules.n_proposals == 11
    codes = encoder.codes([granules])[0]
    np.testing.assert_array_equal(codes.boxes[:4], tiles)
    assert Box(*map(float, codes.boxes[4])).iou(given) > 0.999
    assert len(codes.boxes) == 16
    kept = {tuple(row) for row in codes.boxes[5:].tolist()} & {tuple(row) for row in proposed.tolist()}
    assert len(kept) >= 9
    np.testing.assert_array_equal(codes.whole, plain.whole)
    np.testing.assert_array_equal(codes.regions[:4], plain.regions[:4])
    query = encoder.encode_query(path, region=Box(*map(float, codes.boxes[4])))
    np.testing.assert_array_equal(query, codes.regions[4])


def test_thousands_of_given_boxes_are_no_more_regions_than_proposals(encoder, photographs):
    rng = np.random.default_rng(0)
    boxes = [Box(x / 2, y / 2, x / 2 + 0.3, y / 2 + 0.3) for x, y in rng.random((3000, 2))]
    codes = encoder.codes([encoder.cut(photographs / "things/coffee.png", boxes=boxes)])[0]
    assert len(codes.boxes) == 16
    assert Box(*map(float, codes.boxes[4])).iou(boxes[0]) > 0.999


def test_a_given_box_too_thin_to_keep_is_left_out(encoder, photographs):
    """As of a detector that reaches over the edge by a thousandth of a pixel."""
    picture = photographs / "animals/chelsea.png"
    for box in (Box(1 - 1e-6, 0, 1, 1), Box(0.2, 0.5, 0.8, 0.5 + 1e-6)):
        given = encoder.cut(picture, boxes=[box, Box(0.1, 0.1, 0.4, 0.5)])
        np.testing.assert_array_equal(
            given.boxes, encoder.cut(picture, boxes=[Box(0.1, 0.1, 0.4, 0.5)]).boxes
        )


@pytest.mark.parametrize("size", [(3, 3), (5000, 4), (451, 300)])
def test_a_region_at_the_very_edge_is_a_pixel_at_least(encoder, size):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    for region in (Box(0.9999, 0, 1, 1), Box(0, 0.99, 1, 1), Box(0.84, 0.9, 1, 1), Box(0, 0, 1e-5, 1e-5)):
        for points in ("map", "orb", "sift"):
            asked = encoder.ask(pixels, region=region, parts=4, points=points)
            assert asked.boxes[0] == region
            assert asked.points is not None


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"region": (0, 0, 1, 1)}, "a Box is needed"),
        ({"parts": -1}, "0 to 100 things"),
        ({"parts": 101}, "0 to 100 things"),
        ({"parts": 1.5}, "0 to 100 things"),
        ({"points": "surf"}, "choose map, orb, sift"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(encoder, wrong, said):
    with pytest.raises(InputError, match=said):
        encoder.ask(np.zeros((9, 9, 3), np.uint8), **wrong)


def test_one_colour_has_tiles_alone(encoder):
    codes = encoder.encode(np.full((300, 400, 3), 200, np.uint8))
    assert len(codes.boxes) == len(codes.regions) == 4


def test_boxes_that_were_cut_can_be_cut_again(encoder, photographs):
    path = photographs / "places/china.jpg"
    codes = encoder.encode(path)
    again = encoder.codes([encoder.cut_at(path, codes.boxes)])[0]
    np.testing.assert_array_equal(again.regions, codes.regions)
    np.testing.assert_array_equal(again.whole, codes.whole)
    np.testing.assert_array_equal(again.boxes, codes.boxes)


def test_a_question_is_the_query_and_the_parts_that_fit_things_in_it(encoder, photographs):
    path, region = photographs / "places/china.jpg", Box(0.2, 0.1, 0.9, 0.95)
    asked = encoder.ask(path, region=region, parts=3)
    assert asked.boxes[0] == region
    assert len(asked.boxes) == len(asked.codes) == len(asked.projections) == 4
    for box, code in zip(asked.boxes, asked.codes, strict=True):
        assert box.x0 >= region.x0
        assert box.y1 <= region.y1
        np.testing.assert_array_equal(encoder.encode_query(path, region=box), code)
    assert encoder.ask(path).boxes == [Box(0, 0, 1, 1)]


def variants(image, folder):
    """The same picture as files of many kinds."""
    alpha = image.copy()
    alpha.putalpha(255)
    alpha.save(folder / "alpha.png")
    image.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    image.quantize(256).save(folder / "palette.png")
    image.save(folder / "animated.gif", save_all=True, append_images=[Image.new("RGB", image.size)])
    image.save(
        folder / "animated.webp", save_all=True, append_images=[Image.new("RGB", image.size)], quality=95
    )
    image.save(folder / "plain.tif")
    return sorted(folder.iterdir())


def test_a_picture_of_any_kind_gets_a_code_near_the_plain_one(encoder, photographs, tmp_path):
    image = Image.open(photographs / "things/coffee.png").convert("RGB")
    plain = encoder.encode_query(image)
    for path in variants(image, tmp_path):
        distance = int(np.bitwise_count(encoder.encode_query(path) ^ plain).sum())
        assert distance <= 40, path.name


def test_grey_pictures_of_8_and_16_bits_are_the_same_picture(encoder, photographs, tmp_path):
    grey = np.asarray(Image.open(photographs / "things/coffee.png").convert("L"))
    Image.fromarray(grey).save(tmp_path / "8.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    codes = [encoder.encode(tmp_path / name) for name in ("8.png", "16.png")]
    np.testing.assert_array_equal(codes[0].whole, codes[1].whole)
    np.testing.assert_array_equal(codes[0].regions, codes[1].regions)


@pytest.mark.parametrize("size", [(4000, 40), (40, 4000), (1, 1), (3, 2000), (1, 5)])
def test_very_long_and_very_small_pictures_are_encoded(encoder, size):
    codes = encoder.encode(Image.effect_noise(size, 60).convert("RGB"))
    assert (codes.width, codes.height) == size
    assert len(codes.regions) == len(codes.boxes) >= 4
    if max(size) > 100:
        assert len(codes.boxes) > 4


def test_pictures_that_cannot_be_used_are_named(encoder, tmp_path):
    with pytest.raises(PictureDamaged, match=r"^upload 7: "):
        encoder.encode(b"no picture", name="upload 7")
    strict = Encoder.load(limits=Limits(max_pixels=100))
    Image.new("RGB", (20, 20)).save(tmp_path / "large.png")
    with pytest.raises(PictureTooLarge, match=r"large\.png"):
        strict.encode(tmp_path / "large.png")


def test_a_saved_encoder_keeps_no_link_to_where_it_came_from(encoder, folder, photographs, tmp_path):
    moved = shutil.move(folder, tmp_path / "moved")
    query = photographs / "things/coffee.png"
    np.testing.assert_array_equal(Encoder.load(moved).encode_query(query), encoder.encode_query(query))


def test_threads_that_are_the_first_to_use_the_network_do_not_wait_for_each_other_for_ever():
    """OpenVINO's binding deadlocks there unless a single thread was first; a fourth of these runs hung."""
    code = (
        "import sys, threading, numpy as np\n"
        "from grainhash import Encoder\n"
        "encoder = Encoder.load()\n"
        "encoder.network\n"
        "sys.setswitchinterval(1e-6)\n"
        "barrier = threading.Barrier(8)\n"
        "def work():\n"
        "    barrier.wait()\n"
        "    encoder.features(np.zeros((1, 224, 224, 3), np.uint8))\n"
        "threads = [threading.Thread(target=work, daemon=True) for _ in range(8)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
    )
    for _ in range(4):
        subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


# Features


def test_the_shipped_hash_function_still_decides_the_bits_it_was_written_for(encoder):
    written = json.loads((encoder.folder / "encoder.json").read_text())
    assert encoder.hash_function.fingerprint == written["hash"]["fingerprint"]
    assert encoder.config.features == written["features"]


def test_the_width_of_the_features_is_what_the_hash_function_takes(encoder):
    assert encoder.n_features == encoder.hash_function.n_features


def test_features_of_several_parts_stand_side_by_side(encoder, photographs):
    pixels = encoder.cut(photographs / "things/coffee.png").pixels[:3]
    several = encoder.with_features("pooled+map:rmac+mid:avg+colour")
    assert several.feature_sizes == {"pooled": 1280, "map:rmac": 1280, "mid:avg": 112, "colour": 256}
    assert several.n_features == 1280 + 1280 + 112 + 256
    rows = several.features(pixels)
    assert (rows.shape, rows.dtype) == ((3, several.n_features), np.float32)
    np.testing.assert_array_equal(rows[:, :1280], encoder.features(pixels))
    np.testing.assert_array_equal(rows[:, -256:], encoder.with_features("colour").features(pixels))
    np.testing.assert_array_equal(several.features(pixels[:1])[0], rows[0])
    assert several.features(pixels[:0]).shape == (0, several.n_features)


def test_only_the_outputs_that_are_needed_are_computed(encoder):
    whole = encoder.with_granules(WHOLE_ONLY)
    assert whole.network.outputs == ("pooled", "mid")  # local points are read from it
    assert whole.with_features("map:gem+map:max").network.outputs == ("map",)
    assert encoder.network.outputs == ("pooled", "mid")  # proposals are read from it
    assert encoder.with_features("mid:avg").network.outputs == ("mid",)


def test_average_pooling_is_what_the_network_pools_itself(encoder, photographs):
    pixels = encoder.cut(photographs / "places/china.jpg").pixels[:2]
    averaged = encoder.with_features("map:avg").features(pixels)
    np.testing.assert_allclose(averaged, encoder.features(pixels), atol=1e-4)


def test_an_encoder_of_classical_features_alone_needs_no_network(encoder, photographs, tmp_path):
    classical = encoder.with_features("colour+hog")
    weight = np.random.default_rng(0).standard_normal((256 + 1764, 64)).astype(np.float32)
    chain = HashFunction([Affine(weight, np.zeros(64, np.float32))], "random")
    classical.with_hash_function(chain, {}).save(tmp_path / "e")
    loaded = Encoder.load(tmp_path / "e")
    (tmp_path / "e" / "network.onnx").write_bytes(b"")
    loaded.prepare()
    assert loaded.encode(photographs / "things/coffee.png").regions.shape == (16, 8)  # found by edges alone


@pytest.mark.parametrize("features", ["map", "pooled:gem", "logits", "mid:avg+logits"])
def test_features_that_the_network_does_not_give_are_refused(encoder, features):
    with pytest.raises(EncoderError, match="output"):
        encoder.with_features(features).features(np.zeros((1, 224, 224, 3), np.uint8))


def test_features_that_cannot_be_read_are_refused(encoder):
    with pytest.raises(EncoderError, match="map:median"):
        encoder.with_features("map:median")


def test_several_queries_are_each_seen_as_alone(encoder, photos):
    china, coffee = (photos / name for name in ("places/china.jpg", "things/coffee.png"))
    queries = [
        Query(china),
        Query(b"no picture"),
        Query(coffee, Box(0.3, 0.2, 0.8, 0.7), parts=3),
        Query(coffee, points="map"),
    ]
    first, none, third, fourth = encoder.ask_all(queries)
    assert isinstance(none, PictureDamaged)
    assert len(third.boxes) > 1
    alone = [
        encoder.ask(china),
        encoder.ask(coffee, region=Box(0.3, 0.2, 0.8, 0.7), parts=3),
        encoder.ask(coffee, points="map"),
    ]
    for seen, own in zip((first, third, fourth), alone, strict=True):
        assert seen.boxes == own.boxes
        np.testing.assert_array_equal(seen.codes, own.codes)
    np.testing.assert_array_equal(fourth.points.codes, alone[2].points.codes)
    assert encoder.ask_all([]) == []
