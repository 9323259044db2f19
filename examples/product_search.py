"""Product search: the products of a catalogue that look like a photograph, all of them or those of a filter.

    python examples/product_search.py [--catalogue FOLDER] [--table products.csv] [--query PHOTOGRAPH]
                                      [--where FILTER] [--out product-search]

A catalogue is a folder of pictures with a folder a category; a table with a column `path` adds whatever else
is known, such as prices, to filter by. Without one: Fashion-MNIST, 28 x 28 pixels a product, from Debian's
package dataset-fashion-mnist or the folder that --fashion-mnist names. The catalogue is indexed twice: with
the codes that grainhash ships, and with codes that learned its categories. Prints how many of the ten
products shown for a photograph are of its category, and writes answers.html into OUT, a new folder.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from common import ask, new_folder
from fashion_mnist import HOME, TEST, TRAIN, write_products

from grainhash import Encoder, Gallery
from grainhash.encoder.granules import WHOLE_ONLY
from grainhash.labelled import read_labelled
from grainhash.metadata import read_table
from grainhash.report import html_page, write_html
from grainhash.training.frozen import train_frozen

ASKED = 100
"""Photographs that the measure is a mean over."""
SHOWN = 10
"""Products that a shop shows for one."""
SHOES = "label in (Sandal, Sneaker, Boot)"


def main() -> None:
    """Index, learn, ask, report."""
    arguments = parse()
    out = new_folder(arguments.out)
    catalogue, photographs = products(arguments, out)
    table = None if arguments.table is None else read_table(arguments.table)

    where = arguments.where or (None if arguments.catalogue else SHOES)

    shipped = Encoder.load().with_granules(WHOLE_ONLY)  # a product fills its picture: no parts needed
    learned = train_frozen(
        read_labelled(catalogue), out / "encoder", base=shipped, method="cca-itq", cache=out / "features"
    ).encoder
    for name, encoder in (("shipped", shipped), ("learned", learned)):
        with Gallery.open(out / name, create=True, encoder=encoder) as gallery:
            report = gallery.index(catalogue, metadata=table)
            rate = len(gallery) / report.seconds
            right = sum(of_its_kind(gallery, photograph) for photograph in photographs) / len(photographs)
            print(
                f"{name} codes, {encoder.n_bits} bits: {len(gallery)} products indexed, {rate:.0f} a second; "
                f"{right:.1f} of {SHOWN} shown are of the category"
            )
            answers = [
                ask(gallery, photograph, k=SHOWN, where=only)
                for photograph in (arguments.query or photographs[:: max(len(photographs) // 10, 1)])
                for only in dict.fromkeys([None, where])
            ]
    write_html(out / "answers.html", html_page(answers, title="Products that look like a photograph"))
    print(f"see file://{out}/answers.html")


def parse() -> argparse.Namespace:
    """What is searched and what is asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--catalogue", type=Path, help="a folder of your own, with a folder a category")
    parser.add_argument("--table", type=Path, help="a CSV with a column path and what is known of products")
    parser.add_argument(
        "--query", type=Path, action="append", help="a photograph to ask with; may be repeated"
    )
    parser.add_argument("--where", help="a filter for a second look, such as: label = Boot and price < 50")
    parser.add_argument("--fashion-mnist", type=Path, default=HOME, help="the folder of its idx files")
    parser.add_argument("--each", type=int, default=100, help="products of each kind taken from it")
    parser.add_argument("--out", type=Path, default=Path("product-search"))
    return parser.parse_args()


def products(arguments: argparse.Namespace, out: Path) -> tuple[Path, list[Path]]:
    """A catalogue, and photographs to ask with: of other products, or of some of the catalogue itself."""
    if arguments.catalogue is not None:
        names = read_labelled(arguments.catalogue).names
        return arguments.catalogue, list(map(Path, random.Random(0).sample(names, min(ASKED, len(names)))))
    if not arguments.fashion_mnist.is_dir():
        raise SystemExit(
            f"{arguments.fashion_mnist}: no Fashion-MNIST; apt-get install dataset-fashion-mnist, or pass "
            "--catalogue with products of your own"
        )
    catalogue = out / "catalogue"
    write_products(arguments.fashion_mnist, TRAIN, catalogue, each=arguments.each)
    asking = write_products(arguments.fashion_mnist, TEST, out / "photographs", each=ASKED // 10)
    return catalogue, asking


def of_its_kind(gallery: Gallery, photograph: Path) -> int:
    """How many of the products shown are of the photograph's category; itself is not shown."""
    hits = gallery.search(photograph, k=SHOWN + 1)
    others = [hit for hit in hits if hit.uri != str(photograph.absolute())][:SHOWN]
    return sum(Path(hit.uri).parent.name == photograph.parent.name for hit in others)


if __name__ == "__main__":
    main()
