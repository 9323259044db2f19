"""How copies look: tables, and a page that shows each group beside the picture to keep."""

from __future__ import annotations

from grainhash.duplicates import Copy, Duplicates, Leaks
from grainhash.groups_report import table
from grainhash.report import box_style, page_thumbnail, printable, template

COPIES = (
    *("group", "chain", "keep", "path", "id", "distance"),
    *("same_file", "width", "height", "bytes", "date"),
)

MOST_GROUPS = 200
"""On a page; a thumbnail takes about 10 kB."""
MOST_COPIES = 40
"""Of a group, on a page."""
MOST_INSIDE = 100
"""Pictures inside others, on a page."""


def copies_csv(found: Duplicates) -> str:
    """A row a picture, with the columns of `COPIES`."""
    return table(
        COPIES,
        (
            (
                *(group.number, group.chain, _yes(each is group.keep), each.uri, each.id, each.distance),
                *(_yes(each.is_exact), each.width, each.height, each.bytes, each.date),
            )
            for group in found.groups
            for each in (group.keep, *group.copies)
        ),
    )


def leaks_csv(found: Leaks) -> str:
    """A row a pair: `path`, `id`, `other_path`, `other_id`, `distance`, `same_file`, `share`.

    The last is empty where pictures were not looked at.
    """
    return table(
        ("path", "id", "other_path", "other_id", "distance", "same_file", "share"),
        (
            (
                each.uri,
                each.id,
                each.other_uri,
                each.other_id,
                each.distance,
                _yes(each.is_exact),
                "" if each.share is None else f"{each.share:.3f}",
            )
            for each in found.leaks
        ),
    )


def page(found: Duplicates, *, title: str = "Copies of pictures") -> str:
    """Show groups on one page that needs nothing else: no other file, no network."""

    def shown(copy: Copy) -> dict[str, object]:
        return {"of": copy, "name": _name(copy.uri), "thumbnail": page_thumbnail(copy.uri)}

    groups = [
        {
            "number": group.number,
            "keep": shown(group.keep),
            "copies": [shown(copy) for copy in group.copies[:MOST_COPIES]],
            "more": max(0, len(group.copies) - MOST_COPIES),
        }
        for group in found.groups[:MOST_GROUPS]
    ]
    inside = [
        {
            "of": each,
            "name": _name(each.uri),
            "thumbnail": page_thumbnail(each.uri),
            "other_name": _name(each.of_uri),
            "other_thumbnail": page_thumbnail(each.of_uri),
            "box": box_style(each.box),
        }
        for each in found.inside[:MOST_INSIDE]
    ]
    return template("duplicates_report.html.jinja").render(
        title=printable(title),
        found=found,
        where=printable(found.where or ""),
        groups=groups,
        inside=inside,
    )


def _name(uri: str) -> str:
    return printable(uri.rsplit("/", 1)[-1])


def _yes(value: bool) -> str:
    return "yes" if value else "no"
