"""Which features catch which fakes of pictures, on several kinds of data.

    python benchmarks/controls.py measure icons DATA --size 32      one kind of data, added to the results
    python benchmarks/controls.py measure digits mnist --extractors digits learned pixels
    python benchmarks/controls.py table                              writes the table into docs/measuring.md
    python benchmarks/controls.py stopped mnist mnist --extractors digits pixels        models stopped early
    python benchmarks/controls.py stopped icons DATA --preset icons --extractors learned pixels
    python benchmarks/controls.py stopped-table                      writes their table there

The features are those of `gendi evaluate --extractor`; `untrained` is the network of `learned` before its training.
Letters are drawn from the fonts that come with matplotlib: `python benchmarks/controls.py letters FOLDER`.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from record import RESULTS, machine, write_table
from stopped_early import add_commands

from gendi.data import open_data
from gendi.data.dataset import Data
from gendi.data.images.choose_extractors import LearnedExtractor, choose_extractors
from gendi.data.images.control_checks import ControlCheck
from gendi.data.images.controls import FAKES
from gendi.data.images.extractors import Extractor
from gendi.data.images.learned_features import Learned, _made

NAME, N = "controls", 1000


def load() -> dict[str, Any]:
    path = RESULTS / f"{NAME}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {"machine": machine(), "n": N, "data": {}}


def named(name: str, data: Data) -> tuple[Extractor, list[str]]:
    if name == "untrained":
        return LearnedExtractor(Learned(_made(data).eval(), {}, 0)), []
    (extractor,), notes = choose_extractors(name, data, None, "cpu", n=N)
    return extractor, notes


def measure(args: argparse.Namespace) -> None:
    data = open_data(args.data, size=None if args.size is None else (args.size, args.size))
    found: dict[str, Any] = {"images": len(data.train), "shape": list(data.train.rows.shape[1:]), "extractors": {}}
    for name in args.extractors:
        extractor, notes = named(name, data)
        if name == "untrained":
            extractor.name = "untrained"
        check = ControlCheck(extractor, data, N)
        skill = dict(extractor.learned.skill) if isinstance(extractor, LearnedExtractor) else {}
        found["extractors"][name] = {
            "n": check.size,
            "skill": skill,
            "gates": check.gates,
            "controls": check.controls,
            "missed": {metric: list(check.missed(metric)) for metric in check.gates},
        }
        print(name, notes, found["extractors"][name]["missed"])
    results = load()
    results["data"][args.name] = found
    (RESULTS / f"{NAME}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def table(_: argparse.Namespace) -> None:
    """One row for each kind of data and features: the fakes that each metric misses."""
    metrics = ("fid", "kid", "precision", "recall", "density", "coverage")
    lines = ["| data | features | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 2) + "|"]
    for name, found in load()["data"].items():
        for extractor, entry in found["extractors"].items():
            cells = [", ".join(entry["missed"][metric]) or "all caught" for metric in metrics]
            lines.append(f"| {name} | {extractor} | " + " | ".join(cells) + " |")
    write_table("measuring.md", "fakes that pass", lines)


def letters(args: argparse.Namespace) -> None:
    """Draw the capital letters of matplotlib's fonts, 28 x 28 in grey, into a folder for each letter."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    rng, number = np.random.default_rng(0), 0
    fonts = sorted((Path(matplotlib.get_data_path()) / "fonts" / "ttf").glob("*.ttf"))
    for font in (f for f in fonts if not f.name.startswith(("STIXNon", "STIXSiz", "cmsy", "cmex", "cmmi"))):
        if "Display" in font.name:
            continue
        for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ":
            for _ in range(8):
                picture = Image.new("L", (28, 28), 255)
                drawing, face = ImageDraw.Draw(picture), ImageFont.truetype(str(font), int(rng.integers(16, 24)))
                left, top, right, bottom = drawing.textbbox((0, 0), letter, font=face)
                moved = rng.integers(-2, 3, 2)
                place = ((28 - right - left) / 2 + moved[0], (28 - bottom - top) / 2 + moved[1])
                drawing.text(place, letter, font=face, fill=0)
                (args.folder / letter).mkdir(parents=True, exist_ok=True)
                picture.save(args.folder / letter / f"{number:05}.png")
                number += 1
    print(f"{number:,} letters in {args.folder}; fakes: {', '.join(FAKES)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("measure")
    one.add_argument("name")
    one.add_argument("data")
    one.add_argument("--size", type=int)
    one.add_argument("--extractors", nargs="+", default=["pixels", "untrained", "learned"])
    one.set_defaults(run=measure)
    commands.add_parser("table").set_defaults(run=table)
    add_commands(commands)
    draw = commands.add_parser("letters")
    draw.add_argument("folder", type=Path)
    draw.set_defaults(run=letters)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
