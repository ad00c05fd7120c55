"""A real folder of small colour pictures: the table that goes with it, and the picture of what was learnt.

    npm pack emoji-datasource-twitter && tar xzf emoji-datasource-twitter-*.tgz
    python benchmarks/colour.py table package          writes package/img/twitter/64/conditions.csv
    gendi train package/img/twitter/64 --size 32 --preset icons --out runs/emoji
    python benchmarks/colour.py draw runs/emoji        draws docs/colour.png

The 3,786 pictures are Twemoji, CC-BY 4.0 (64 x 64, transparent). Their table has the category (the condition `class`),
a finer kind, and the tone of the skin where there is one. The picture has two rows of training images above, and
below them a row of samples for each class, or six rows without classes.
"""

import argparse
import csv
import json
import textwrap
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import pyplot as plt

import gendi
from gendi.data import open_data
from gendi.data.images.pictures import grid_image
from gendi.storage.toml import read_toml
from gendi.train.kept.bundle import load_bundle

matplotlib.use("Agg")
COLUMNS, ROWS_WITHOUT_CLASSES = 16, 6
TONES = {"1F3FB": "light", "1F3FC": "medium-light", "1F3FD": "medium", "1F3FE": "medium-dark", "1F3FF": "dark"}


def write_table(package: Path) -> Path:
    """Write the conditions of the pictures that the package emoji-datasource-twitter holds, from its emoji.json."""
    pictures = package / "img/twitter/64"
    rows = []
    for emoji in json.loads((package / "emoji.json").read_text("utf-8")):
        category, kind = emoji["category"], emoji["subcategory"]
        rows.append((emoji["image"], category, kind, ""))
        for tones, skin in emoji.get("skin_variations", {}).items():
            rows.append((skin["image"], category, kind, TONES[tones.split("-")[0]]))
    there = {path.name for path in pictures.iterdir()}
    path = pictures / "conditions.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file_name", "class", "kind", "tone"))
        writer.writerows(row for row in rows if row[0] in there)
    return path


def draw(run: Path, steps: int | None, seed: int) -> Path:
    """Draw training images and samples of a run into docs/colour.png."""
    bundle = load_bundle(run)
    written = read_toml(run / "config.toml")["data"]
    data = open_data(written["spec"], size=tuple(written["size"]) if "size" in written else None)
    names = bundle.class_names
    rows = len(names) or ROWS_WITHOUT_CLASSES
    real = data.train.batch(np.linspace(0, len(data.train) - 1, 2 * COLUMNS).round().astype(np.int64))
    asked = {"class": np.repeat(np.arange(rows), COLUMNS)} if names else None
    made = gendi.sample(bundle, n=rows * COLUMNS, steps=steps, seed=seed, condition=asked)
    scale = max(1, 64 // max(made.shape[1:3]))
    above, below = (np.asarray(grid_image(x, COLUMNS, scale, gap=4, paper=255)) for x in (real, made))
    figure, (top, bottom) = plt.subplots(
        2, figsize=(11, 11 * (2.6 + rows) / COLUMNS), height_ratios=(2, rows), layout="constrained"
    )
    for axes, picture, title in ((top, above, "training images"), (bottom, below, "samples")):
        axes.imshow(picture, cmap="gray", interpolation="nearest")
        axes.set_title(title, loc="left")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
    if names:
        each = below.shape[0] / rows
        bottom.set_yticks([each * (k + 0.5) for k in range(rows)], [textwrap.fill(name, 14) for name in names])
        bottom.tick_params(length=0)
    path = Path(__file__).parents[1] / "docs" / "colour.png"
    figure.savefig(path, dpi=110)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("table").add_argument("package", type=Path)
    drawing = commands.add_parser("draw")
    drawing.add_argument("run", type=Path)
    drawing.add_argument("--steps", type=int, default=None)
    drawing.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(write_table(args.package) if args.command == "table" else draw(args.run, args.steps, args.seed))


if __name__ == "__main__":
    main()
