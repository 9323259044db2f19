"""How groups and labels of a whole gallery look: tables, and pages with contact sheets and a map."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from grainhash.classify import Classification, Prediction
from grainhash.clusters import Clustering, Member
from grainhash.report import page_thumbnail, printable, template

SHEET = 24
"""Pictures of a contact sheet: the medoid first, or the surest."""
MOST_SHEETS = 100
"""Groups or labels with a sheet on a page, the largest; a thumbnail takes about 10 kB."""
MOST_CONFUSED = 12
"""Classes of which is shown who is taken for whom."""
COLOURS = 12
"""Groups with a colour of their own on the map, the largest."""


def clusters_csv(found: Clustering) -> str:
    """A row a picture: `path`, `id`, `group`, `name`, `distance`; the last three may be empty."""
    rows: list[Sequence[Any]] = [
        (member.uri, member.id, group.number, group.title, member.distance)
        for group in found.groups
        for member in group.members
    ]
    rows += [(member.uri, member.id, "", "", "") for member in found.alone]
    return table(("path", "id", "group", "name", "distance"), rows)


def labels_csv(found: Classification) -> str:
    """A row a picture: `path`, `id`, `label`, `confidence`, `likeliest`, `distance`.

    An empty label says none of these.
    """
    header = ("path", "id", "label", "confidence", "likeliest", "distance")
    return table(
        header,
        (
            (seen.uri, seen.id, seen.label or "", seen.confidence, seen.likeliest, seen.distance)
            for seen in found.predictions
        ),
    )


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A CSV with a header row."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def clusters_page(found: Clustering, *, title: str = "Groups of pictures") -> str:
    """Show groups on one page that needs nothing else: no other file, no network.

    Each group is a contact sheet, its medoid first and then outwards; the map has a dot a picture, with
    a name that shows where it is pointed at.
    """
    sheets = [
        {
            "group": group,
            "title": printable(group.title),
            "size": len(group.members),
            "pictures": _pictures(group.members),
        }
        for group in found.groups[:MOST_SHEETS]
    ]
    titles = {group.number: printable(group.title) for group in found.groups}
    places = [
        {
            "x": round(1000 * place.x, 1),
            "y": round(1000 * place.y, 1),
            "group": place.group,
            "colour": place.group - 1 if place.group is not None and place.group <= COLOURS else None,
            "title": f"{_name(place.uri)} · {titles[place.group] if place.group else 'no group'}",
        }
        for place in found.places
    ]
    return template("groups_report.html.jinja").render(
        title=printable(title),
        found=found,
        notes=[printable(note) for note in found.notes],
        where=printable(found.where or ""),
        sheets=sheets,
        places=places,
        n_colours=COLOURS,
        silhouette=max((value for _, value in found.tried), default=None),
    )


def labels_page(found: Classification, *, title: str = "Labels of pictures") -> str:
    """Show labels on one page that needs nothing else: no other file, no network.

    Each label is a contact sheet, the surest first; none of these comes last. How good each class is follows.
    """
    groups = found.by_label()
    none = [group for group in groups if group[0] is None]
    sheets = [
        {
            "title": "" if label is None else printable(label),
            "size": len(group),
            "pictures": [
                {**shown, "likeliest": printable(shown["of"].likeliest)} for shown in _pictures(group)
            ],
        }
        for label, group in groups[: min(MOST_SHEETS, len(groups) - len(none))] + none
    ]
    judged, given = found.evaluation, {label: len(group) for label, group in groups}
    return template("labels_report.html.jinja").render(
        title=printable(title),
        found=found,
        judged=judged,
        where=printable(found.where or ""),
        sheets=sheets,
        n_seen=len(found.predictions),
        n_shown=SHEET,
        classes=[
            {"of": row, "title": printable(row.label), "given": given.get(row.label, 0)}
            for row in judged.classes
        ],
        confusion=judged.confusion if len(judged.classes) <= MOST_CONFUSED else None,
    )


def _pictures(of: Sequence[Member] | Sequence[Prediction]) -> list[dict[str, Any]]:
    """The first of some pictures, as a contact sheet shows them."""
    return [
        {"of": each, "name": _name(each.uri), "thumbnail": page_thumbnail(each.uri)} for each in of[:SHEET]
    ]


def _name(uri: str) -> str:
    return printable(uri.rsplit("/", 1)[-1])
