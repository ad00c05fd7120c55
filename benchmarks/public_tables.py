"""Tables with words and numbers out of files of packages, each with the column that is predicted from the others.

    pip install --no-deps --target PLACE vega_datasets palmerpenguins plotnine ISLP statsmodels

Only the files are read; nothing of the packages is imported.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

Maker = Callable[[], tuple[pd.DataFrame, str]]


def public_tables(packages: Path) -> dict[str, Maker]:
    """Return how to make each table and the name of its target."""

    def read(name: str, **options: Any) -> pd.DataFrame:
        return pd.read_csv(packages / name, **options)

    def fair() -> pd.DataFrame:
        frame = read("statsmodels/datasets/fair/fair.csv")
        return frame.assign(affair=np.where(frame.affairs > 0, "yes", "no")).drop(columns="affairs")

    def diamonds() -> pd.DataFrame:
        return read("plotnine/data/diamonds.csv").sample(6000, random_state=0).reset_index(drop=True)

    airports = ["iata", "name", "city"]
    return {
        "diamonds": lambda: (diamonds(), "cut"),
        "weather": lambda: (read("vega_datasets/_data/seattle-weather.csv", parse_dates=["date"]), "weather"),
        "fair": lambda: (fair(), "affair"),
        "wage": lambda: (read("ISLP/data/Wage.csv").drop(columns="region"), "education"),
        "airports": lambda: (read("vega_datasets/_data/airports.csv").drop(columns=airports), "state"),
        "penguins": lambda: (read("palmerpenguins/data/penguins.csv"), "species"),
        "default": lambda: (read("ISLP/data/Default.csv"), "default"),
        "college": lambda: (read("ISLP/data/College.csv"), "Private"),
        "hitters": lambda: (read("ISLP/data/Hitters.csv"), "League"),
    }
