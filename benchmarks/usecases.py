"""The use cases of docs/use-cases.md: product search, a photo library, the same thing across cameras.

    python benchmarks/usecases.py [--quick] [--only CASE] [--fashion-mnist FOLDER] [--out FOLDER]

- products: Fashion-MNIST. 20,000 pictures of the training part are the catalogue, 5,000 others of it teach
  codes, 1,000 of the test part ask. Precision of the first ten and mAP@1000 of the shipped codes, of ITQ
  refitted to the 5,000 without their labels, of codes learned with them, and of the network's floats by
  cosine. Then a gallery of some of the catalogue: pictures indexed a second, wholes only, and milliseconds
  from a picture to its answer.
- library: photographs of a test split, and altered copies of some: mirrored, recoloured, turned a little.
  Precision and recall of the copies that `duplicates` lists, and with `--verify`; how often a copy finds its
  original first among all originals; how alike groups are.
- cameras: things of Caltech-101 pass before four cameras, each with a photograph of COCO behind it and a
  distance, light and colour of its own. The videos are sampled once a second. A box drawn around a thing in
  one camera asks each of the others: how often its best frame shows that thing (R@1), and the overlap of the
  box returned with the true one (IoU). Beside it, in the same run, the whole frame asks: for whole frames,
  and for these and parts of them.

Nothing here was chosen on the pictures that are asked for. The data are not part of this repository: what is
missing is not measured, and said.
"""

from __future__ import annotations

import io
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median
from time import perf_counter
from typing import Any

import harness
import numpy as np
from fashion_mnist import HOME, TEST, TRAIN, write_products
from films import Camera, Moment, write_film
from granularity_parts import material
from numpy.typing import NDArray
from PIL import Image

from grainhash import Encoder, Gallery
from grainhash.duplicates import Duplicates
from grainhash.encoder.granules import WHOLE_ONLY
from grainhash.evaluation import Cosine, Hamming, judge
from grainhash.labelled import LabelledPictures, read_labelled
from grainhash.labels import Labels
from grainhash.metadata import read_table
from grainhash.methods import method
from grainhash.training.data import gather
from grainhash.training.features import cached_features
from grainhash.types import WHOLE, Box, Granularity
from grainhash.video import TABLE, extract

ISSUE = "applications"
BUILD = material.ROOT / "build" / "usecases"
SEED = 0

LEARNED, SEARCHED, ASKED = 500, 2000, 100
"""Products of each kind that are learned from, searched, and asked with."""
INDEXED = 400
"""Products of each kind in the gallery that is timed."""
TIMED = 100
AT = 1000
BITS = 64

COPIED = 100
MILD = ("flip", "recolour", "rotate")

CAMERAS = (
    ("gate", 0.35, 1.0, 1.0),
    ("hall", 0.28, 0.75, 0.6),
    ("lift", 0.22, 1.2, 0.8),
    ("yard", 0.18, 0.9, 1.0),
)
"""Name, share of the width that a thing takes, light, colour."""
CLASSES, THINGS_A_CLASS = 20, 3
SECONDS = 2.0
"""That each thing passes for."""


def main() -> None:
    """Measure, write the results, and say which targets were met."""
    options = harness.parser(__doc__)
    options.add_argument("--only", action="append", choices=list(CASES), help="measure this case")
    options.add_argument("--fashion-mnist", type=Path, default=HOME, help="the folder of its idx files")
    options = options.parse_args()
    figures = harness.earlier_figures((options.out or harness.RESULTS) / "usecases.json", options)
    for name in options.only or list(CASES):
        shutil.rmtree(BUILD / name, ignore_errors=True)
        started = perf_counter()
        found = CASES[name](options.quick, options.fashion_mnist)
        if found is not None:
            figures[name] = {**found, "seconds": round(perf_counter() - started, 1)}
            print(f"{name}: {figures[name]}", flush=True)
        shutil.rmtree(BUILD / name, ignore_errors=True)
    harness.write(
        options, "usecases", packages=["av", "torch"], seeds=[SEED], figures=figures, targets=targets(figures)
    )


def targets(figures: dict[str, Any]) -> list[harness.Target]:
    """What each use case should give; set before this first ran, that of what is looked at later."""
    products, library, cameras = (figures.get(name) for name in CASES)

    def target(
        name: str, case: dict[str, Any] | None, value: Callable[[Any], float], least: float
    ) -> harness.Target:
        found = None if case is None else round(value(case), 4)
        return harness.Target(ISSUE, name, f">= {least:g}", found, found is not None and found >= least)

    def p10(case: dict[str, Any], codes: str) -> float:
        return float(case["codes"][codes]["precision_at_10"])

    return [
        target(
            "product search, shipped codes: P@10 over that of the network's floats",
            products,
            lambda case: p10(case, "shipped") - p10(case, "floats"),
            -0.02,
        ),
        target(
            "product search, 64 bits learned from 5,000 labels: P@10 over that of the network's floats",
            products,
            lambda case: p10(case, "nested") - p10(case, "floats"),
            0.02,
        ),
        target(
            "photo library: precision of the copies listed", library, lambda case: case["precision"], 0.99
        ),
        target("photo library: recall of mild copies", library, lambda case: case["recall"], 0.7),
        target(
            "photo library: recall of mild copies that are looked at",
            library,
            lambda case: case["verified"]["recall"],
            0.95,
        ),
        target(
            "photo library: a copy finds its original first",
            library,
            lambda case: case["recall_at_1"]["all"],
            0.95,
        ),
        target(
            "cameras: R@1 by a part over that by whole frames, the better of two ways",
            cameras,
            lambda case: (
                case["part"]["recall_at_1"]
                / max(case["whole"]["recall_at_1"], case["whole_among_parts"]["recall_at_1"], 1e-9)
            ),
            1.0001,
        ),
        target("cameras: R@1 by a part", cameras, lambda case: case["part"]["recall_at_1"], 0.9),
        target("cameras: mean IoU of the box returned", cameras, lambda case: case["part"]["iou"], 0.5),
    ]


def products(quick: bool, home: Path) -> dict[str, Any] | None:
    """How good codes of product pictures are, and how fast a gallery of them."""
    if not home.is_dir():
        print(f"products: not measured, there is no {home.name} on this machine; see --fashion-mnist")
        return None
    learned, searched, asked, indexed = (14, 20, 4, 10) if quick else (LEARNED, SEARCHED, ASKED, INDEXED)
    folder = BUILD / "products"
    for name, part, each, after in (
        ("learned", TRAIN, learned, 0),
        ("searched", TRAIN, searched, learned),
        ("asking", TEST, asked, 0),
        ("indexed", TRAIN, indexed, learned),
    ):
        write_products(home, part, folder / name, each=each, after=after)
    encoder = Encoder.load().with_granules(WHOLE_ONLY)
    rows: dict[str, NDArray[np.float32]] = {}
    labels: dict[str, Labels] = {}
    for name in ("learned", "searched", "asking"):
        rows[name], labels[name] = seen(encoder, read_labelled(folder / name))
    functions = {"shipped": encoder.hash_function}
    seconds = {}
    for name, n_bits in (("itq", encoder.n_bits), ("cca-itq", BITS), ("nested", BITS)):
        settings: dict[str, Any] = {"epochs": 3} if quick and name == "nested" else {}
        n_bits = min(n_bits, BITS) if quick else n_bits
        started = perf_counter()
        fitted = method(name)(n_bits=n_bits, **settings)
        fitted.fit(rows["learned"], labels["learned"])
        seconds[name] = round(perf_counter() - started, 1)
        functions[name] = fitted.function
    figures = {"floats": judged(Cosine(rows["asking"], rows["searched"]), labels)}
    for name, function in functions.items():
        codes = Hamming(function.encode(rows["asking"]), function.encode(rows["searched"]))
        figures[name] = {"bits": function.n_bits, **judged(codes, labels)}
        if name in seconds:
            figures[name]["fit_seconds"] = seconds[name]
    return {
        "learned_from": len(rows["learned"]),
        "searched": len(rows["searched"]),
        "asked": len(rows["asking"]),
        "codes": figures,
        "gallery": timed(encoder, folder),
    }


def seen(encoder: Encoder, pictures: LabelledPictures) -> tuple[NDArray[np.float32], Labels]:
    """The network's features of pictures, and their labels."""
    rows, bad = cached_features(encoder, gather(pictures, name="products"), BUILD / "features")
    if bad or pictures.labels is None:
        raise SystemExit(f"pictures that cannot be read: {bad}")
    return np.asarray(rows), pictures.labels


def judged(distances: Hamming | Cosine, labels: dict[str, Labels]) -> dict[str, Any]:
    """P@10 and mAP@1000 of everything that was asked."""
    found = judge(distances, labels["asking"], labels["searched"], at=min(AT, distances.n_database))
    return {
        "precision_at_10": round(found.precision_at[10], 4),
        "map_at_1000": round(found.mean_average_precision["found"].expected, 4),
    }


def timed(encoder: Encoder, folder: Path) -> dict[str, Any]:
    """Pictures indexed a second, and milliseconds a search, of a gallery as a shop has it."""
    encoder.prepare()
    asking = [Path(name) for name in read_labelled(folder / "asking").names]
    asking = asking[:: max(len(asking) // TIMED, 1)]
    with Gallery.open(folder / "gallery", create=True, encoder=encoder) as gallery:
        report = gallery.index(folder / "indexed")
        milliseconds = [ms_of(lambda path=path: gallery.search(path, k=10)) for path in asking]
        filtered = [
            ms_of(lambda path=path: gallery.search(path, k=10, where="label = Bag")) for path in asking
        ]
        return {
            "pictures": len(gallery),
            "indexed_per_second": round(len(gallery) / report.seconds, 1),
            "search_ms": round(median(milliseconds), 1),
            "search_with_filter_ms": round(median(filtered), 1),
        }


def ms_of(call: Callable[[], object]) -> float:
    """Milliseconds that a call takes."""
    started = perf_counter()
    call()
    return 1e3 * (perf_counter() - started)


def library(quick: bool, home: Path) -> dict[str, Any] | None:
    """Copies, groups and search of photographs and mild copies of some."""
    rows = material.rows_of("flickr8k_1k")
    if rows is None:
        return None
    test = [row["image"] for row in rows if row["split"] == "test"][: 30 if quick else None]
    rng = random.Random(SEED)
    chosen = rng.sample(range(len(test)), min(8 if quick else COPIED, len(test)))
    folder = BUILD / "library"
    for name in ("originals", *MILD):
        (folder / "photos" / name).mkdir(parents=True)
    for number, data in enumerate(test):
        (folder / "photos" / "originals" / f"{number:04d}.jpg").write_bytes(data)
    for number in chosen:
        picture = Image.open(io.BytesIO(test[number])).convert("RGB")
        for kind in MILD:
            altered = material.jpeg(*material.CHANGES[kind](picture, picture, rng))
            (folder / "photos" / kind / f"{number:04d}.jpg").write_bytes(altered)
    with Gallery.open(folder / "gallery", create=True) as gallery:
        report = gallery.index(folder / "photos")
        copies, looked = gallery.duplicates(), gallery.duplicates(verify=True)
        groups = gallery.cluster(seed=SEED)
        group_of = {member.uri: group.number for group in groups.groups for member in group.members}
        first: dict[str, list[bool]] = {kind: [] for kind in MILD}
        together, milliseconds = [], []
        for kind in MILD:
            for path in sorted((folder / "photos" / kind).iterdir()):
                started = perf_counter()
                (hit,) = gallery.search(path, k=1, where="label = originals")
                milliseconds.append(1e3 * (perf_counter() - started))
                first[kind].append(Path(hit.uri).stem == path.stem)
                original = folder / "photos" / "originals" / path.name
                together.append(group_of[str(path)] == group_of[str(original)])
        return {
            "photographs": len(test),
            "copies": len(chosen) * len(MILD),
            "indexed_per_second": round(len(gallery) / report.seconds, 1),
            "radius": copies.radius,
            **listed(copies, len(chosen) * len(MILD)),
            "verified": listed(looked, len(chosen) * len(MILD)),
            "groups": len(groups.groups),
            "silhouette": round(max((value for _, value in groups.tried), default=0.0), 4),
            "copies_grouped_with_originals": round(mean(together), 4),
            "recall_at_1": {
                "all": round(mean(each for kind in MILD for each in first[kind]), 4),
                **{kind: round(mean(found), 4) for kind, found in first.items()},
            },
            "search_ms": round(median(milliseconds), 1),
        }


def listed(found: Duplicates, n_copies: int) -> dict[str, Any]:
    """Precision and recall of the copies that would be moved away, each for one that stays."""
    pairs = [(group.keep.uri, copy.uri) for group in found.groups for copy in group.copies]
    right = sum(Path(keep).stem == Path(copy).stem for keep, copy in pairs)
    return {
        "duplicates_seconds": round(found.seconds, 2),
        "precision": round(right / max(len(pairs), 1), 4),
        "recall": round(right / n_copies, 4),
    }


def cameras(quick: bool, home: Path) -> dict[str, Any] | None:
    """Things found again in the frames of other cameras, by a box and by whole frames."""
    things, places = things_and_places(quick)
    if not things:
        return None
    folder = BUILD / "cameras"
    folder.mkdir(parents=True)
    truth: dict[str, list[Moment]] = {}
    for seed, ((name, *how), place) in enumerate(zip(CAMERAS, places, strict=True)):
        path = folder / f"{name}.mp4"
        truth[path.name] = write_film(path, Camera(place, *how), things, seconds=SECONDS, seed=seed)
    started = perf_counter()
    taken = extract([folder / name for name in truth], folder / "frames")
    sampling = perf_counter() - started
    if any(each.problem for each in taken):
        raise SystemExit(f"videos that cannot be read: {taken}")
    with Gallery.open(folder / "gallery", create=True) as gallery:
        report = gallery.index(folder / "frames", metadata=read_table(folder / "frames" / TABLE))
        return {
            "cameras": len(truth),
            "things": len(things),
            "frames": len(gallery),
            "video_seconds_sampled_per_second": round(len(truth) * len(things) * SECONDS / sampling, 1),
            "indexed_per_second": round(len(gallery) / report.seconds, 2),
            "part": found_again(gallery, truth, by_box=True),
            "whole": found_again(gallery, truth, granularity="whole"),
            "whole_among_parts": found_again(gallery, truth),
        }


def things_and_places(quick: bool) -> tuple[list[Image.Image], list[Image.Image]]:
    """Photographs of things, some of each of some classes, and one photograph a camera to pass before."""
    rows, hosts = material.rows_of("caltech101"), material.rows_of("coco_mini")
    if rows is None or hosts is None:
        return [], []
    by_label: dict[str, list[bytes]] = {}
    for row in rows:
        if not row["label"].startswith("Faces"):
            by_label.setdefault(row["label"], []).append(row["image"])
    rng = random.Random(SEED)
    classes = rng.sample(sorted(by_label), 2 if quick else CLASSES)
    things = [data for label in classes for data in rng.sample(by_label[label], THINGS_A_CLASS)]
    places = [row["image"] for row in rng.sample(hosts, len(CAMERAS))]
    things, places = ([Image.open(io.BytesIO(data)) for data in some] for some in (things, places))
    return things, places


def found_again(
    gallery: Gallery,
    truth: dict[str, list[Moment]],
    *,
    by_box: bool = False,
    granularity: Granularity = "both",
) -> dict[str, Any]:
    """R@1 over the other cameras, IoU of right answers, and milliseconds from a frame to an answer."""
    at = {(video, moment.seconds): moment for video, moments in truth.items() for moment in moments}
    first, overlaps, milliseconds = [], [], []
    for frame in gallery.browse(limit=len(gallery)):
        asked = at[frame.meta["video"], frame.meta["seconds"]]
        region: Box = asked.box if by_box else WHOLE
        started = perf_counter()
        question = gallery.encoder.ask(frame.uri, region=region)
        seconds = perf_counter() - started
        for other in truth:
            if other == frame.meta["video"]:
                continue
            started = perf_counter()
            (hit,) = gallery.find(question, k=1, where=f'video = "{other}"', granularity=granularity).hits
            milliseconds.append(1e3 * (seconds + perf_counter() - started))
            shown = at[hit.meta["video"], hit.meta["seconds"]]
            first.append(shown.thing == asked.thing)
            if by_box and first[-1]:
                overlaps.append(hit.box.iou(shown.box))
    figures: dict[str, Any] = {
        "asked": len(first),
        "recall_at_1": round(mean(first), 4),
        "search_ms": round(median(milliseconds), 1),
    }
    return {**figures, "iou": round(mean(overlaps or [0.0]), 4)} if by_box else figures


CASES: dict[str, Callable[[bool, Path], dict[str, Any] | None]] = {
    "products": products,
    "library": library,
    "cameras": cameras,
}


if __name__ == "__main__":
    main()
