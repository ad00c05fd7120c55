"""Samples of requested classes: which class each has, and how a grid shows them in a row for each class."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gendi.data.images.pictures import CAPTION, text_width, write_text

MOST_COLUMNS = 20
MOST_NAME = 24
"""Characters of a name that are shown."""


@dataclass(frozen=True, eq=False)
class Asked:
    """The classes of N samples.

    Args:
        labels: the number of each sample's class (N,), -1 for none.
        names: the names of the classes, by number.
        requested: whether a person named the classes; otherwise they came in turn.
    """

    labels: NDArray[np.int64]
    names: tuple[str, ...]
    requested: bool

    @property
    def in_rows(self) -> bool:
        """Whether a grid shows the classes in rows: they were requested, and there are several."""
        return self.requested and len(self.classes) > 1

    @property
    def classes(self) -> list[int]:
        """The classes that there are samples of, in the order in which they come first."""
        return list(dict.fromkeys(self.labels.tolist()))

    @property
    def columns(self) -> int:
        """How many samples a row of the grid has."""
        return min(MOST_COLUMNS, max(int((self.labels == label).sum()) for label in self.classes))

    def lines(self, label: int) -> int:
        """Return how many rows of the grid a class takes: more than one if it has more samples than columns."""
        return -(-int((self.labels == label).sum()) // self.columns)

    def slots(self) -> NDArray[np.int64]:
        """Return the number of the sample at each place of the grid, row by row; -1 where there is none."""
        places = []
        for label in self.classes:
            mine = np.full(self.lines(label) * self.columns, -1, np.int64)
            found = np.flatnonzero(self.labels == label)
            mine[: len(found)] = found
            places.append(mine)
        return np.concatenate(places)

    def name(self, label: int) -> str:
        """Return the name of a class as it is shown."""
        text = "no class" if label < 0 else self.names[label] if label < len(self.names) else str(label)
        return text if len(text) <= MOST_NAME else f"{text[: MOST_NAME - 3]}..."


def with_names(grid: Image.Image, asked: Asked, row: int) -> tuple[int, Image.Image]:
    """Return a margin in pixels, and the grid with that margin on its left, in which the names of the classes stand.

    `row` is the height of a row of the grid in pixels.
    """
    left = max(text_width(asked.name(label)) for label in asked.classes) + 8
    sheet = Image.new(grid.mode, (grid.width + left, grid.height), (128,) * len(grid.getbands()))
    sheet.paste(grid, (left, 0))
    line = 0
    for label in asked.classes:
        write_text(sheet, asked.name(label), (4, line * row + (row - CAPTION) // 2))
        line += asked.lines(label)
    return left, sheet
