"""Tiny data sets whose classes and columns have given names, and the whole way from training to the report on them."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from gendi.cli import main

STEPS = ("--steps", "2", "--batch-size", "4")
PICTURES = (
    *("--network.channels", "8", "16", "--network.groups", "4", "--network.time-dim", "16"),
    *("--train.precision", "fp32", "--train.layout", "contiguous"),
)
ROWS = ("--network.channels", "16", "--network.blocks", "1", "--network.time-dim", "16")


@dataclass(frozen=True)
class World:
    """Data of one kind, the flags that train on it quickly, and the condition whose classes have names."""

    spec: str
    flags: tuple[str, ...]
    condition: str
    suffix: str


def pictures(folder: Path, names: Sequence[str]) -> World:
    """Return a folder with two pictures of 8 x 8 pixels in a subfolder for each name."""
    rng = np.random.default_rng(0)
    for name in names:
        (folder / "data" / name).mkdir(parents=True)
        for i in range(2):
            pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "data" / name / f"{i}.png")
    return World(str(folder / "data"), (*PICTURES, "--condition", "class"), "class", ".png")


def table(folder: Path, names: Sequence[str], column: str = "kind") -> World:
    """Return a CSV with the column `column`, which holds each of the names three times, and a column of numbers."""
    rng = np.random.default_rng(0)
    path = folder / "data.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow([column, "size of it"])
        writer.writerows([name, f"{rng.normal():.3f}"] for _ in range(3) for name in names)
    spec = f"{path}?{column}=category"  # a column of numbers and texts is refused unless its kind is given
    return World(spec, (*ROWS, "--condition", column), column, ".csv")


def cells(folder: Path, names: Sequence[str], column: str = "kind") -> World:
    """Return an .h5ad with five genes, whose column `column` of obs holds each of the names four times."""
    import anndata
    import pandas as pd

    rng = np.random.default_rng(0)
    adata = anndata.AnnData(1 + rng.poisson(4.0, (4 * len(names), 5)).astype(np.float32))
    adata.obs_names = [f"cell{i}" for i in range(len(adata))]
    adata.var_names = [f"gene{i}" for i in range(5)]
    adata.obs[column] = pd.Categorical(list(names) * 4, categories=list(names))
    path = folder / "data.h5ad"
    adata.write_h5ad(path)
    return World(f"cells:{path}", (*ROWS, "--condition", column), column, ".h5ad")


def whole_way(
    world: World, folder: Path, asked: Sequence[str], *, measured: bool = True
) -> Iterator[tuple[list[str], int]]:
    """Train and sample each of the classes `asked`, then, if `measured`, evaluate, report and look at the run; yield
    each command with its exit code.
    """
    run = folder / "run"
    commands = [["train", world.spec, *world.flags, *STEPS, "--out", str(run)]]
    short = ("--n", "2", "--steps", "2", "--sampler", "ddim")
    for i, name in enumerate(asked):
        flag = [f"--class={name}"] if world.condition == "class" else ["--condition", f"{world.condition}={name}"]
        commands.append(["sample", str(run), *flag, *short, "--out", str(folder / f"{i}{world.suffix}")])
    if world.suffix == ".png":
        commands.append(["sample", "--again", str(folder / f"0{world.suffix}"), "--out", str(folder / "again.png")])
    if measured:
        commands.append(["evaluate", str(run), "--n", "6", "--steps", "2", "--sampler", "ddim"])
        commands += [["report", str(run)], ["info", str(run)], ["verify", str(run)], ["runs", str(folder)]]
    for command in commands:
        yield command, main(command)
