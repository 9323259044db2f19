from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from grainhash import Box, Gallery
from grainhash.chance import together
from grainhash.encoder.granules import WHOLE_ONLY
from grainhash.errors import (
    EncoderMismatch,
    GalleryError,
    GalleryFormatError,
    GalleryNotFound,
    InputError,
    MetadataError,
    PictureDamaged,
    WhereError,
)
from grainhash.metadata import read_table
from grainhash.search import weights_of_kinds
from grainhash.types import WHOLE


@pytest.fixture
def gallery(tmp_path, encoder):
    with Gallery.open(tmp_path / "gallery", create=True, encoder=encoder) as opened:
        yield opened


@pytest.fixture(scope="module")
def full(tmp_path_factory, photographs):
    """A gallery of all photographs, for tests that only ask."""
    with Gallery.open(tmp_path_factory.mktemp("full") / "gallery", create=True) as opened:
        opened.index(photographs)
        yield opened


def names(hits):
    return [Path(hit.uri).name for hit in hits]


def uris(gallery):
    return {hit.uri for hit in gallery.search(np.zeros((64, 64, 3), np.uint8), k=1000)}


# Asking


def test_a_picture_finds_itself_at_distance_0(full, photographs):
    hits = full.search(photographs / "animals/chelsea.png", k=3)
    assert names(hits)[0] == "chelsea.png"
    assert (hits[0].distance, hits[0].whole_distance, hits[0].box) == (0, 0, Box(0, 0, 1, 1))
    assert (hits[0].width, hits[0].height) == (451, 300)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_every_picture_finds_itself_first_in_every_form(full, photographs):
    for path in photographs.rglob("*.*"):
        for source in (path, str(path), path.read_bytes()):
            (hit,) = full.search(source, k=1)
            assert (hit.uri, hit.distance) == (str(path), 0)
        for source in (Image.open(path), np.asarray(Image.open(path).convert("RGB"))):
            (hit,) = full.search(source, k=1)  # decoded at full size, not at a JPEG's reduced one
            assert hit.uri == str(path)
            assert hit.distance <= 8


def test_a_tile_of_a_picture_finds_that_tile(full, photographs):
    (hit,) = full.search(
        photographs / "things/coffee.png", region=Box(0.4, 0.4, 1, 1), k=1, granularity="part"
    )
    assert (Path(hit.uri).name, hit.distance, hit.part_distance) == ("coffee.png", 0, 0)
    assert hit.box.iou(Box(0.4, 0.4, 1, 1)) > 0.999


def test_a_crop_file_finds_its_picture_and_where_in_it(full, photographs, tmp_path):
    image = Image.open(photographs / "people/astronaut.png").convert("RGB")
    image.crop((0, 0, 256, 256)).save(tmp_path / "corner.jpg", quality=85)
    (hit,) = full.search(tmp_path / "corner.jpg", k=1)
    assert Path(hit.uri).name == "astronaut.png"
    assert hit.box.iou(Box(0, 0, 0.5, 0.5)) > 0.5
    assert hit.distance == hit.part_distance < hit.whole_distance


def test_questions_found_together_have_the_answers_of_each(full, photographs):
    """Of pictures, of parts of one and of several parts at once."""
    paths = sorted(photographs.rglob("*.*"))[:4]
    asked = [full.encoder.ask(path) for path in paths]
    asked.append(full.encoder.ask(paths[0], region=Box(0.2, 0.2, 0.7, 0.9)))
    asked += [full.encoder.ask(path, parts=3) for path in paths[:2]]
    for settings in ({"k": 3}, {"k": 20, "order": "hamming", "min_score": 0.6, "bits": 64}):
        found = full.find_all(asked, **settings, encoder=full.encoder.fingerprint)
        assert [each.hits for each in found] == [full.find(one, **settings).hits for one in asked]
        assert {each.n_pictures for each in found} == {len(full)}
        for each in found:
            assert [stage.name for stage in each.stages] == ["candidates", "order", "score", "read"]
    assert full.find_all([]) == []


def test_both_is_the_mean_of_whole_and_part(full, photographs):
    query = photographs / "plants/flower.jpg"
    found = {
        kind: {hit.id: hit for hit in full.search(query, k=100, granularity=kind)}
        for kind in ("whole", "part", "both")
    }
    assert len(found["both"]) == len(full)
    weights = weights_of_kinds(sum(hit.false_matches < 1 for hit in found["whole"].values()))
    for id, hit in found["both"].items():
        whole, part = found["whole"][id], found["part"][id]
        assert hit.distance == (whole if hit.box == WHOLE else part).distance
        assert (hit.whole_distance, hit.part_distance) == (whole.distance, part.distance)
        each = np.log([whole.false_matches, part.false_matches])
        assert hit.false_matches == pytest.approx(np.exp(together(each, weights)), rel=1e-6)


def test_the_first_k_are_the_first_k_of_all(full, photographs):
    query = photographs / "textures/grass.png"
    everything = full.search(query, k=1000)
    for k in (0, 1, 2, 7):
        assert full.search(query, k=k) == everything[:k]


def test_a_filter_is_applied_before_the_nearest_are_taken(full, photographs):
    hits = full.search(photographs / "animals/chelsea.png", k=2, where="label = textures")
    assert len(hits) == 2
    assert {hit.meta["label"] for hit in hits} == {"textures"}
    assert full.search(photographs / "animals/chelsea.png", where="label = nothing") == []


@pytest.mark.parametrize("k", [-1, 10**7])
def test_a_k_that_makes_no_sense_is_refused(full, photographs, k):
    with pytest.raises(InputError, match="k = "):
        full.search(photographs / "animals/chelsea.png", k=k)


def test_a_wrong_filter_or_granularity_is_refused(full, photographs):
    with pytest.raises(WhereError):
        full.search(photographs / "animals/chelsea.png", where="label = = x")
    with pytest.raises(InputError, match="whole, part or both"):
        full.search(photographs / "animals/chelsea.png", granularity="pixel")


def test_a_query_that_is_no_picture_is_refused(full):
    with pytest.raises(PictureDamaged):
        full.search(b"no picture")


def test_info_says_what_is_there(full, photographs):
    facts = full.info()
    n = len(list(photographs.rglob("*.*")))
    assert (facts.pictures, facts.n_bits, facts.copies) == (n, 256, 0)
    assert 4 * n < facts.regions <= 16 * n + 2  # one is long enough for more tiles
    assert ("label", n) in facts.meta_keys
    assert facts.encoder == full.encoder.fingerprint
    assert facts.bytes_on_disk > 4_000_000


# Filling


def test_indexing_again_does_nothing(gallery, photos):
    assert gallery.index(photos).added == 4
    before = gallery.search(photos / "things/coffee.png")
    report = gallery.index(photos)
    assert (report.added, report.updated, report.removed, report.unchanged) == (0, 0, 0, 4)
    assert gallery.search(photos / "things/coffee.png") == before


def test_new_changed_and_vanished_pictures_are_taken_in(gallery, photos, photographs):
    gallery.index(photos)
    shutil.copyfile(photographs / "people/camera.png", photos / "new.png")
    shutil.copyfile(photographs / "textures/brick.png", photos / "things/coffee.png")
    (photos / "astronomy/rocket.jpg").unlink()
    report = gallery.index(photos)
    assert (report.added, report.updated, report.removed, report.unchanged) == (1, 1, 1, 2)
    (hit,) = gallery.search(photographs / "textures/brick.png", k=1)
    assert (hit.distance, Path(hit.uri).name) == (0, "coffee.png")
    assert len(gallery) == 4


def test_exact_copies_are_known_and_not_encoded_again(gallery, photos, monkeypatch):
    gallery.index(photos)
    shutil.copyfile(photos / "things/coffee.png", photos / "copy.png")
    monkeypatch.setattr(gallery.encoder, "cut", lambda *_, **__: pytest.fail("a copy was decoded"))
    assert gallery.index(photos).added == 1
    monkeypatch.undo()
    hits = gallery.search(photos / "copy.png", k=2)
    assert [hit.distance for hit in hits] == [0, 0]
    assert gallery.info().copies == 1


def test_a_moved_picture_is_not_encoded_again(gallery, photos, monkeypatch):
    gallery.index(photos)
    (photos / "things/coffee.png").rename(photos / "mug.png")
    monkeypatch.setattr(gallery.encoder, "cut", lambda *_, **__: pytest.fail("a moved file was decoded"))
    report = gallery.index(photos)
    assert (report.added, report.removed) == (1, 1)


def test_a_touched_picture_keeps_its_id(gallery, photos):
    gallery.index(photos)
    (before,) = gallery.search(photos / "things/coffee.png", k=1)
    os.utime(photos / "things/coffee.png", (1, 1))
    gallery.index(photos)
    assert gallery.search(photos / "things/coffee.png", k=1) == [before]


def test_bad_files_are_reported_and_the_rest_goes_in(gallery, photos):
    good = (photos / "things/coffee.png").read_bytes()
    (photos / "empty.jpg").write_bytes(b"")
    (photos / "truncated.png").write_bytes(good[: len(good) // 2])
    (photos / "text.jpg").write_text("I am not a picture")
    (photos / "renamed.jpg").write_bytes(good)
    Image.new("1", (12_000, 12_000)).save(photos / "bomb.png")
    (photos / "dangling.jpg").symlink_to(photos / "nowhere.jpg")
    report = gallery.index(photos)
    assert report.added == 5
    bad = {Path(path).name for path in report.skipped}
    assert bad == {"empty.jpg", "truncated.png", "text.jpg", "bomb.png", "dangling.jpg"}
    assert all(reason and "\n" not in reason for reason in report.skipped.values())
    assert {Path(uri).name for uri, _ in gallery.info().skipped} == bad
    (photos / "empty.jpg").write_bytes(good)
    gallery.index(photos)
    assert "empty.jpg" not in {Path(uri).name for uri, _ in gallery.info().skipped}


def test_a_vanished_folder_loses_nothing(gallery, photos):
    gallery.index(photos)
    aside = photos.rename(photos.with_name("aside"))
    with pytest.raises(InputError, match="no such folder"):
        gallery.index(photos)
    photos.mkdir()
    with pytest.raises(GalleryError, match="mount"):
        gallery.index(photos)
    assert len(gallery) == 4
    photos.rmdir()
    aside.rename(photos)
    assert gallery.index(photos).unchanged == 4


def test_an_unreadable_subfolder_loses_nothing(gallery, photos, monkeypatch):
    gallery.index(photos)
    scandir = os.scandir

    def forbidden(path):
        if str(path).endswith("things"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    aside = (photos / "things").rename(photos.with_name("aside"))  # so that its files do not exist
    (photos / "things").mkdir()
    monkeypatch.setattr(os, "scandir", forbidden)
    report = gallery.index(photos)
    assert report.removed == 0
    assert [Path(path).name for path in report.skipped] == ["things"]
    assert len(gallery) == 4
    assert aside.is_dir()


def test_the_gallery_inside_the_folder_is_not_indexed(photos, encoder):
    with Gallery.open(photos / "gallery", create=True, encoder=encoder) as gallery:
        shutil.copyfile(photos / "things/coffee.png", photos / "gallery/coffee.png")
        assert gallery.index(photos).added == 4


def test_folders_give_labels_and_a_table_gives_the_rest(gallery, photos, tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("path,year,by\nthings/coffee.png,2011,Rachel\nnowhere.png,1,x\n")
    gallery.index(photos)
    report = gallery.index(photos, metadata=read_table(table))
    assert (report.added, report.relabelled, report.unmatched) == (0, 1, ["nowhere.png"])
    (hit,) = gallery.search(photos / "animals/chelsea.png", where="year > 2000 and by = Rachel")
    assert hit.meta == {"folder": "things", "label": "things", "year": 2011, "by": "Rachel"}
    assert gallery.index(photos).unchanged == 4
    assert gallery.search(photos / "animals/chelsea.png", where="year = 2011")[0].id == hit.id


@pytest.mark.parametrize("meta", [{"v": float("nan")}, {"v": Path()}, {"v": "\ud800"}, {"width": 3}], ids=str)
def test_metadata_that_a_gallery_cannot_keep_are_refused(gallery, photos, meta):
    with pytest.raises(MetadataError):
        gallery.add([photos / "things/coffee.png"], meta=meta)
    assert len(gallery) == 0
    assert gallery.info().meta_keys == []


def test_a_table_has_the_last_word_over_exif_every_time(gallery, tmp_path):
    exif = Image.Exif()
    exif[272] = "Acme"
    (tmp_path / "p").mkdir()
    Image.new("RGB", (300, 200), "teal").save(tmp_path / "p/a.jpg", exif=exif)
    (tmp_path / "t.csv").write_text("path,camera\na.jpg,mine\n")
    for relabelled in (0, 0):
        report = gallery.index(tmp_path / "p", metadata=read_table(tmp_path / "t.csv"))
        assert report.relabelled == relabelled
        assert gallery.search(tmp_path / "p/a.jpg")[0].meta == {"camera": "mine"}


def test_exif_becomes_metadata(gallery, tmp_path):
    exif = Image.Exif()
    exif[271], exif[272] = "Canon", "Canon EOS 5D"
    exif.get_ifd(0x8769)[36867] = "2024:05:01 12:30:00"
    Image.new("RGB", (300, 200), "teal").save(tmp_path / "a.jpg", exif=exif)
    gallery.add([tmp_path / "a.jpg"])
    (hit,) = gallery.search(tmp_path / "a.jpg", where="taken >= 2024-05-01 and camera contains eos")
    assert hit.meta == {"taken": "2024-05-01T12:30:00", "camera": "Canon EOS 5D"}


def test_an_upright_copy_of_a_turned_picture_is_near(gallery, photos, tmp_path):
    upright = Image.open(photos / "animals/chelsea.png").convert("RGB")
    exif = Image.Exif()
    exif[274] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    gallery.add([tmp_path / "turned.jpg"])
    (hit,) = gallery.search(upright)
    assert (hit.width, hit.height) == upright.size
    assert hit.whole_distance < 30


def test_add_takes_single_files_and_reports_bad_ones(gallery, photos, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"x")
    report = gallery.add(
        [photos / "things/coffee.png", tmp_path / "bad.png", tmp_path / "none.png"], meta={"a": 1}
    )
    assert report.added == 1
    assert {Path(path).name for path in report.skipped} == {"bad.png", "none.png"}
    assert gallery.search(photos / "things/coffee.png")[0].meta == {"a": 1}


def test_remove_by_path_id_and_folder(gallery, photos):
    gallery.index(photos)
    (hit,) = gallery.search(photos / "things/coffee.png", k=1)
    assert gallery.remove([hit.id]) == 1
    assert gallery.remove([photos / "animals/chelsea.png"]) == 1
    with pytest.raises(InputError, match="not in the gallery; nothing was removed"):
        gallery.remove([photos / "astronomy", photos / "animals/chelsea.png"])
    assert len(gallery) == 2
    assert gallery.remove([photos]) == 2
    assert uris(gallery) == set()


def test_removing_a_folder_forgets_what_was_left_out_there(gallery, photos):
    (photos / "bad.jpg").write_bytes(b"x")
    gallery.index(photos)
    assert len(gallery.info().skipped) == 1
    gallery.remove([photos])
    assert gallery.info().skipped == []


def test_whole_only_galleries_have_no_parts(tmp_path, photos, encoder):
    whole = encoder.with_granules(WHOLE_ONLY)
    with Gallery.open(tmp_path / "whole", create=True, encoder=whole) as gallery:
        gallery.index(photos)
        (hit,) = gallery.search(photos / "things/coffee.png", k=1)
        assert (hit.distance, hit.part_distance) == (0, None)
        with pytest.raises(InputError, match="no parts"):
            gallery.search(photos / "things/coffee.png", granularity="part")


# One gallery, one encoder; several at once


def test_a_gallery_keeps_its_encoder(gallery, encoder):
    with pytest.raises(EncoderMismatch):
        Gallery.open(gallery.path, encoder=encoder.with_granules(WHOLE_ONLY))
    with Gallery.open(gallery.path) as again:
        assert again.encoder.fingerprint == encoder.fingerprint


def test_two_open_galleries_see_each_others_changes(gallery, photos):
    with Gallery.open(gallery.path) as other:
        gallery.index(photos)
        assert other.search(photos / "things/coffee.png", k=1)[0].distance == 0
        other.remove([photos / "things/coffee.png"])
        assert "coffee.png" not in names(gallery.search(photos / "things/coffee.png"))


def test_no_gallery_there(tmp_path):
    with pytest.raises(GalleryNotFound, match="grainhash index"):
        Gallery.open(tmp_path / "none")


def test_a_folder_of_something_else_is_not_taken_over(photos):
    with pytest.raises(GalleryFormatError, match="new or empty folder"):
        Gallery.open(photos, create=True)


def test_a_damaged_encoder_is_refused(gallery, photos):
    gallery.index(photos)
    (file,) = gallery.path.glob("encoder/*/encoder.json")
    file.write_text(file.read_text().replace('"proposals": 12', '"proposals": 11'))
    with pytest.raises(GalleryFormatError, match="not the encoder"):
        Gallery.open(gallery.path)


def test_deleting_the_cache_loses_nothing(gallery, photos):
    gallery.index(photos)
    before = gallery.search(photos / "things/coffee.png")
    shutil.rmtree(gallery.path / "cache", ignore_errors=True)
    with Gallery.open(gallery.path) as again:
        assert again.search(photos / "things/coffee.png") == before


# A hash function of the gallery's own


@pytest.fixture
def many(tmp_path, photographs):
    """Photographs of one's own to change, with granules enough to fit 256 bits on."""
    folder = tmp_path / "many"
    shutil.copytree(photographs, folder)
    return folder


def test_refit_gives_all_pictures_codes_of_a_new_hash_function(gallery, many):
    gallery.index(many)
    before = gallery.encoder.fingerprint
    with Gallery.open(gallery.path) as other:
        gallery.refit()
        assert gallery.encoder.fingerprint != before
        for asked in (gallery, other):
            (hit,) = asked.search(many / "things/coffee.png", k=1)
            assert (hit.distance, Path(hit.uri).name) == (0, "coffee.png")
    assert gallery.encoder.config.provenance["hash"]["of"] == "the gallery"
    assert gallery.index(many).unchanged == len(gallery)


def test_a_refit_keeps_the_regions_that_are_there(gallery, many):
    given = Box(0.05, 0.5, 0.3, 0.98)
    gallery.index(many, boxes_of=lambda path: [given] if path.name == "coffee.png" else [])
    asked = {"region": given, "granularity": "part", "k": 1}
    (before,) = gallery.search(many / "things/coffee.png", **asked)
    assert before.box.iou(given) > 0.999
    gallery.refit()
    (after,) = gallery.search(many / "things/coffee.png", **asked)
    assert (after.box, after.uri) == (before.box, before.uri)
    assert after.distance <= 8


def test_the_exact_order_and_the_asymmetric_one(full, photographs):
    query = photographs / "textures/grass.png"
    exact = full.search(query, k=len(full), order="hamming")
    assert exact[0].distance == 0
    for kind in ("whole", "part"):
        hits = full.search(query, k=len(full), order="hamming", granularity=kind)
        distances = [hit.distance for hit in hits]
        assert distances == sorted(distances)
    by_reals = full.search(query, k=len(full))
    assert {hit.id for hit in by_reals} == {hit.id for hit in exact}
    assert [hit.score for hit in by_reals] == sorted((hit.score for hit in by_reals), reverse=True)
    for wrong in ({"order": "random"}, {"min_score": 1.01}, {"min_score": -0.1}):
        with pytest.raises(InputError):
            full.search(query, **wrong)


@pytest.mark.parametrize("points", ["map", "sift"])
def test_points_that_match_bring_a_hit_forward_and_say_where(full, photographs, points):
    picture, box = Image.open(photographs / "people/astronaut.png").convert("RGB"), Box(0.3, 0.25, 0.75, 0.85)
    crop = picture.crop([round(edge) for edge in box.pixels(*picture.size)]).point(lambda value: value * 0.5)
    by_codes = full.search(crop, k=len(full))
    hits = full.search(crop, k=len(full), verify=len(full), points=points)
    assert names(hits)[0] == "astronaut.png"
    assert hits[0].match is not None
    assert hits[0].box.iou(box) > 0.7
    assert all(hit.match is None for hit in by_codes)
    expected = {hit.id: hit.false_matches for hit in by_codes}
    assert all(hit.false_matches <= expected[hit.id] for hit in hits)
    assert hits[0].false_matches < expected[hits[0].id]
    assert [hit.false_matches for hit in hits] == sorted(hit.false_matches for hit in hits)


@pytest.mark.parametrize("points", ["map", "sift"])
def test_the_very_picture_comes_first_however_many_points_match(gallery, photographs, tmp_path, points):
    """Of copies of which hundreds of points match, no number of false matches is left to tell them by."""
    folder = tmp_path / "copies"
    folder.mkdir()
    picture = Image.open(photographs / "people/astronaut.png").convert("RGB")
    for quality in (20, 40, 60):
        picture.save(folder / f"{quality}.jpg", quality=quality)
    picture.save(folder / "original.png")
    gallery.index(folder)
    hits = gallery.search(folder / "original.png", k=4, verify=4, points=points)
    assert names(hits)[0] == "original.png"
    assert all(hit.match is not None for hit in hits)
    if points == "sift":
        assert hits[0].false_matches == hits[1].false_matches == 0
        places = [hit.match.n_places for hit in hits]
        assert places == sorted(places, reverse=True)


def test_a_hit_whose_file_is_another_by_now_is_not_verified(gallery, photos):
    gallery.index(photos)
    query = (photos / "animals/chelsea.png").read_bytes()
    shutil.copyfile(photos / "things/coffee.png", photos / "animals/chelsea.png")
    hits = gallery.search(query, verify=4)
    assert names(hits)[0] == "chelsea.png"
    assert hits[0].match is None


def test_an_explanation_has_the_score_of_a_search_that_verifies(full, photographs):
    picture, box = Image.open(photographs / "people/astronaut.png").convert("RGB"), Box(0.3, 0.25, 0.75, 0.85)
    crop = picture.crop([round(edge) for edge in box.pixels(*picture.size)])
    (hit,) = full.search(crop, k=1, verify=1)
    found = full.explain(crop, hit.id, points="map").found
    assert (found.score, found.box, found.match.n_places) == (hit.score, hit.box, hit.match.n_places)
    assert found.false_matches == pytest.approx(hit.false_matches)


@pytest.mark.parametrize("boxes", [[(0, 0, 1, 1)], None, 5])
def test_boxes_of_another_kind_are_refused(gallery, photos, boxes):
    with pytest.raises(InputError, match="it is to give a list of Box"):
        gallery.index(photos, boxes_of=lambda path: boxes)


def test_only_the_best_are_verified_and_the_answer_is_as_long_as_asked(full, photographs):
    query = photographs / "things/coffee.png"
    assert len(full.search(query, k=1, verify=5)) == 1
    hits = full.search(query, k=9, verify=2)
    assert len(hits) == 9
    assert all(hit.match is None for hit in hits[2:])
    again = full.search(query, k=9, verify=2, min_score=hits[0].score)
    assert names(again) == ["coffee.png"]
    for wrong in (
        {"verify": -1},
        {"verify": 10**6},
        {"verify": 1.5},
        {"verify": 1, "points": "surf"},
        {"k": 2.5},
        {"k": True},
        {"bits": 8.0},
        {"region": (0, 0, 1, 1)},
    ):
        with pytest.raises(InputError):
            full.search(query, **wrong)
    with pytest.raises(InputError, match="no points"):
        full.find(full.encoder.ask(query), verify=1)


def test_a_hit_whose_file_is_gone_stays_as_it_is(gallery, photos):
    gallery.index(photos)
    query = (photos / "animals/chelsea.png").read_bytes()
    (photos / "animals/chelsea.png").unlink()
    hits = gallery.search(query, verify=4)
    assert names(hits)[0] == "chelsea.png"
    assert hits[0].match is None


def test_an_open_gallery_goes_on_after_another_process_refitted_it(gallery, many, photographs):
    gallery.index(many)
    with Gallery.open(gallery.path) as other:
        gallery.refit()
        shutil.copyfile(photographs / "things/coffee.png", many / "another.png")
        assert other.info().encoder == gallery.encoder.fingerprint
        assert other.add([many / "another.png"]).added == 1


def test_a_refit_refuses_content_that_changed_since_it_was_indexed(gallery, many, photographs):
    gallery.index(many)
    shutil.copyfile(photographs / "textures/brick.png", many / "things/coffee.png")
    with pytest.raises(GalleryError, match="as they were indexed"):
        gallery.refit()


def test_an_interrupted_refit_goes_on_where_it_was(gallery, many, monkeypatch):
    gallery.index(many)
    before = gallery.encoder.fingerprint

    def interrupt(progress):
        if progress.stage == "recoding" and progress.done > 16:
            raise KeyboardInterrupt

    monkeypatch.setattr("grainhash.refit.BATCH", 16)
    with pytest.raises(KeyboardInterrupt):
        gallery.refit(progress=interrupt)
    assert gallery.encoder.fingerprint == before
    assert gallery.search(many / "things/coffee.png", k=1)[0].distance == 0
    seen = []
    gallery.refit(progress=seen.append)
    assert "fitting" not in {progress.stage for progress in seen}
    assert seen[-1].done <= len(gallery) - 16
    assert gallery.search(many / "things/coffee.png", k=1)[0].distance == 0


def test_a_refit_of_too_few_pictures_is_refused(gallery, photos):
    gallery.index(photos)
    with pytest.raises(InputError, match="4 pictures are too few to fit 256 bits on"):
        gallery.refit()


def test_a_refit_without_some_picture_keeps_the_old_codes(gallery, many):
    gallery.index(many)
    before = gallery.encoder.fingerprint
    (many / "things/coffee.png").unlink()
    with pytest.raises(GalleryError, match="old codes stay"):
        gallery.refit()
    assert gallery.encoder.fingerprint == before
    assert len(gallery.search(many / "things/page.png", k=3)) == 3
