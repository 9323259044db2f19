"""The same thing across cameras: where a thing that one camera saw was seen by the others, and when.

    python examples/cameras.py [VIDEO...] [--every 1] [--seen-by VIDEO --at SECONDS --region x0,y0,x1,y1]
                               [--out cameras]

One granule set a sampled frame: the whole, and boxes that fit the things in it. A box drawn in a frame of
one camera is looked for in the frames of all the others. Without videos three are made, in which photographed
things pass before cameras that stand elsewhere, nearer or farther, in other light; then it is known where
each thing is, and said how often it came first, by its box and, beside that, by whole frames. Writes
hits.html into OUT, a new folder.

Needed: pip install 'grainhash[demo,video]'.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import ask, new_folder
from films import Camera, Moment, write_film
from photographs import copy_photographs
from PIL import Image

from grainhash import Box, Gallery
from grainhash.metadata import read_table
from grainhash.report import html_page, write_html
from grainhash.types import WHOLE, Hit
from grainhash.video import TABLE, extract

THINGS = ("chelsea", "coffee", "astronaut", "flower")
CAMERAS = (
    ("gate", "china", 0.3, 1.0, 1.0),
    ("hall", "motorcycle_left", 0.25, 1.15, 0.7),
    ("yard", "rocket", 0.2, 0.8, 0.9),
)
"""Name, background, share of the width that a thing takes, light, colour."""
SECONDS = 3.0
"""That each thing passes for."""

Truth = dict[str, list[Moment]]


def main() -> None:
    """Make videos or take them, sample, index, ask, report."""
    arguments = parse()
    out = new_folder(arguments.out)
    truth: Truth = {} if arguments.videos else make_videos(out / "videos")
    videos = arguments.videos or sorted((out / "videos").glob("*.mp4"))

    for each in extract(videos, out / "frames", every=arguments.every):
        print(f"{Path(each.video).name}: {each.frames} frames", f"({each.problem})" if each.problem else "")
    with Gallery.open(out / "gallery", create=True) as gallery:
        report = gallery.index(out / "frames", metadata=read_table(out / "frames" / TABLE))
        print(f"{len(gallery)} frames indexed in {report.seconds:.1f} s")

        video = arguments.seen_by or Path(videos[0]).name
        frame, seconds = frame_at(gallery, video, arguments.at)
        region = Box.parse(arguments.region) if arguments.region else moment(truth, video, seconds)
        answer = ask(gallery, frame, region=region, k=6, where=elsewhere(video))
        print(f"what is at {region} in {video} at {seconds} s was seen by")
        for hit in answer.hits:
            print(f"  {hit.meta['video']} at {hit.meta['seconds']} s, at {hit.box}, score {hit.score:.2f}")
        write_html(out / "hits.html", html_page([answer], title=f"Seen by {video}, and by other cameras"))
        if truth:
            by_box, by_whole, overlap = judged(gallery, truth)
            print(f"the very thing came first: {by_box:.0%} by its box, {by_whole:.0%} by whole frames")
            print(f"the box returned overlaps the true one by {overlap:.2f} (IoU)")
    print(f"see file://{out}/hits.html")


def parse() -> argparse.Namespace:
    """Videos, and what is looked for in them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "videos", nargs="*", type=Path, help="one of each camera, each with a name of its own"
    )
    parser.add_argument("--every", type=float, default=1.0, help="seconds from one frame to the next")
    parser.add_argument("--seen-by", metavar="VIDEO", help="the name of the video that shows it; the first")
    parser.add_argument(
        "--at", type=float, default=0.0, metavar="SECONDS", help="when; the nearest frame counts"
    )
    parser.add_argument("--region", help="where: x0,y0,x1,y1 as fractions; all of the frame by default")
    parser.add_argument("--out", type=Path, default=Path("cameras"))
    return parser.parse_args()


def make_videos(folder: Path) -> Truth:
    """Videos in which the same things pass before several cameras; where they are in every frame."""
    photos = {path.stem: Image.open(path) for path in copy_photographs(folder / "photographs")}
    things = [photos[name] for name in THINGS]
    truth = {}
    for seed, (name, place, *how) in enumerate(CAMERAS):
        camera = Camera(photos[place], *how)
        truth[f"{name}.mp4"] = write_film(folder / f"{name}.mp4", camera, things, seconds=SECONDS, seed=seed)
    return truth


def frame_at(gallery: Gallery, video: str, seconds: float) -> tuple[str, float]:
    """The path of the frame of a video that is nearest to a time, and its time."""
    frames = gallery.browse(where=f'video = "{video}"', limit=len(gallery))
    if not frames:
        raise SystemExit(f"{video}: no frames of it")
    nearest = min(frames, key=lambda frame: abs(frame.meta["seconds"] - seconds))
    return nearest.uri, nearest.meta["seconds"]


def elsewhere(video: str) -> str:
    """The filter that leaves the camera out that saw it."""
    return f'video != "{video}"'


def moment(truth: Truth, video: str, seconds: float) -> Box:
    """Where the thing is that passes then; the whole frame where that is not known."""
    return next((each.box for each in truth.get(video, ()) if each.seconds == seconds), WHOLE)


def judged(gallery: Gallery, truth: Truth) -> tuple[float, float, float]:
    """How often the very thing came first, by its box and by whole frames, and how well the boxes fit."""
    at = {(video, each.seconds): each for video, moments in truth.items() for each in moments}

    def shown(hit: Hit) -> Moment:
        return at[hit.meta["video"], hit.meta["seconds"]]

    by_box, by_whole, overlaps = [], [], []
    for frame in gallery.browse(limit=len(gallery)):
        asked = at[frame.meta["video"], frame.meta["seconds"]]
        where = elsewhere(frame.meta["video"])
        (first,) = gallery.search(frame.uri, region=asked.box, k=1, where=where)
        (whole,) = gallery.search(frame.uri, k=1, where=where, granularity="whole")
        by_box.append(shown(first).thing == asked.thing)
        by_whole.append(shown(whole).thing == asked.thing)
        if by_box[-1]:
            overlaps.append(first.box.iou(shown(first).box))
    return mean(by_box), mean(by_whole), mean(overlaps)


def mean(values: list[bool] | list[float]) -> float:
    """0 of none."""
    return sum(values) / max(len(values), 1)


if __name__ == "__main__":
    main()
