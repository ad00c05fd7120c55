"""Draw docs/models.png: samples of each class of the models in the box, and of their students, none picked.

python benchmarks/box.py
"""

from pathlib import Path

from matplotlib import pyplot as plt

import gendi
from gendi.data.images.pictures import grid_image

SHOWN = ("digits", "digits-student", "fashion", "fashion-student")
ROWS, CLASSES = 4, 10


def main() -> None:
    figure, axes = plt.subplots(2, 2, figsize=(10, 4.6), layout="constrained")
    for ax, name in zip(axes.flat, SHOWN, strict=True):
        calls = gendi.load(name).config.sample.steps
        pictures = gendi.sample(name, n=ROWS * CLASSES, seed=0)
        ax.imshow(grid_image(pictures, CLASSES, scale=2), cmap="gray", vmin=0, vmax=255)
        ax.set_title(f"{name}, {calls} calls", fontsize=10)
        ax.set_axis_off()
    out = Path(__file__).parents[1] / "docs" / "models.png"
    figure.savefig(out, dpi=100)
    print(out)


if __name__ == "__main__":
    main()
