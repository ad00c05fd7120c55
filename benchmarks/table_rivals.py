"""Other ways to draw rows of a table, each as its package has it: what benchmarks/tables.py compares gendi with.

    pip install --no-deps --target PLACE arfpy ForestDiffusion xgboost lightgbm catboost ctgan rdt imbalanced-learn \\
        sklearn-compat tqdm faker tzdata

    arf                 adversarial random forests (Watson et al. 2023), arfpy's defaults
    forest-diffusion    flows with gradient-boosted trees (Jolicoeur-Martineau et al. 2024), as many copies of each row
                        as the budget allows
    ctgan               conditional tabular GAN (Xu et al. 2019), as many epochs as the budget allows
    smote               imbalanced-learn's SMOTENC: rows between neighbours of the same class of the target
    gaussian-copula     normal scores with the correlations of the training rows

Each takes rows of numbers, in which words are codes, and gives such rows. Where a method knows no gaps, a gap is a word
of its own: of a column of words, or of a second column that says whether the number is there.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gendi.data.tables.codec import TableCodec
from gendi.data.tables.schema import Schema
from gendi.diffusion.randomness import stream

Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """What a rival is given."""

    schema: Schema
    train: Rows
    """Rows (N, G); NaN is a gap."""
    target: int
    n: int
    """How many rows to draw."""
    seed: int
    seconds: float
    """The budget of CPU seconds."""


@dataclass(frozen=True)
class Filled:
    """Rows without gaps, from which the gaps can be made again."""

    rows: Rows
    words: tuple[int, ...]
    """The columns of codes."""
    whole: tuple[int, ...]
    """The other columns whose numbers are whole."""
    columns: int
    """How many columns the table has; flags of gaps come behind them."""
    flagged: tuple[int, ...]
    gap: dict[int, int]
    """The code of a gap in columns of words that have gaps."""

    @classmethod
    def of(cls, task: Task) -> "Filled":
        """Return the training rows of a task with their gaps filled."""
        rows, g = task.train.copy(), task.train.shape[1]
        words = [j for j, column in enumerate(task.schema.columns) if column.kind in ("category", "boolean")]
        missing = np.isnan(rows)
        flagged = [j for j in range(g) if missing[:, j].any() and j not in words]
        gap = {j: int(np.nanmax(rows[:, j])) + 1 for j in words if missing[:, j].any()}
        for j in range(g):
            rows[missing[:, j], j] = gap[j] if j in gap else np.nanmedian(rows[:, j])
        whole = tuple(j for j in range(g) if j not in words and (rows[:, j] == np.round(rows[:, j])).all())
        flags = missing[:, flagged].astype(np.float64)
        every = (*words, *range(g, g + len(flagged)))
        return cls(np.concatenate([rows, flags], axis=1), every, whole, g, tuple(flagged), gap)

    def undone(self, rows: Rows) -> Rows:
        """Return rows of the table's form: codes that exist, whole numbers, and gaps."""
        rows = np.asarray(rows, dtype=np.float64).copy()
        for j in self.words:
            rows[:, j] = np.clip(np.round(rows[:, j]), 0, self.rows[:, j].max())
        for j in self.whole:
            rows[:, j] = np.round(rows[:, j])
        for k, j in enumerate(self.flagged):
            rows[rows[:, self.columns + k] == 1, j] = np.nan
        for j, code in self.gap.items():
            rows[rows[:, j] == code, j] = np.nan
        return rows[:, : self.columns]


def gaussian_copula(task: Task) -> Rows:
    import torch

    codec = TableCodec.fit(task.schema, task.train, {}, points=False)
    z = codec.encode(torch.from_numpy(task.train), {}, torch.arange(len(task.train))).double().numpy()
    factor = np.linalg.cholesky(np.corrcoef(z.T) + 1e-6 * np.eye(z.shape[1]))
    drawn = stream(task.seed, "benchmark copula").standard_normal((task.n, z.shape[1])) @ factor.T
    return codec.decode(torch.from_numpy(drawn), {}, task.seed, 0).numpy()


def resampling(task: Task) -> Rows:
    rng = stream(task.seed, "benchmark resampling")
    return task.train[rng.integers(0, len(task.train), task.n)]


def _frame(filled: Filled) -> pd.DataFrame:
    """Return rows as a frame with columns of the type category; codes are texts there."""
    frame = pd.DataFrame(filled.rows, columns=[f"c{j}" for j in range(filled.rows.shape[1])])
    for j in filled.words:
        frame[f"c{j}"] = frame[f"c{j}"].astype(int).astype(str).astype("category")
    return frame


def arf(task: Task) -> Rows:
    from arfpy.arf import arf as forests

    if not hasattr(np, "in1d"):
        np.in1d = np.isin  # noqa: NPY201  # arfpy 0.1.1 still calls it by the name that NumPy 2.4 does not have any more
    np.random.seed(task.seed)  # noqa: NPY002  # arfpy draws from the global generator
    filled = Filled.of(task)
    model = forests(_frame(filled), verbose=False, random_state=task.seed)
    model.forde()
    return filled.undone(model.forge(task.n).astype(np.float64).to_numpy())


def forest_diffusion(task: Task) -> Rows:
    from ForestDiffusion import ForestDiffusionModel

    filled = Filled.of(task)
    many = [j for j in filled.words if filled.rows[:, j].max() > 1]
    integers = [j for j in (*filled.words, *filled.whole) if j not in many]
    copies = 1
    while True:
        start = time.process_time()
        settings: dict[str, Any] = {"n_t": 20, "duplicate_K": copies, "n_jobs": 1, "seed": task.seed}
        model = ForestDiffusionModel(filled.rows, cat_indexes=many, int_indexes=integers, **settings)
        drawn = model.generate(batch_size=task.n)
        spent = time.process_time() - start
        if copies > 1 or spent >= task.seconds / 2:
            return filled.undone(drawn)
        copies = max(2, min(100, int(task.seconds / spent)))


def ctgan(task: Task) -> Rows:
    import torch
    from ctgan import CTGAN

    torch.manual_seed(task.seed)
    np.random.seed(task.seed)  # noqa: NPY002  # CTGAN draws from the global generator
    filled = Filled.of(task)
    frame = _frame(filled)
    names = [f"c{j}" for j in filled.words]
    batch = min(500, len(frame) // 10 * 10)

    epochs = 10
    while True:  # until it took at least half of the budget
        start = time.process_time()
        model = CTGAN(epochs=epochs, batch_size=batch, enable_gpu=False)
        model.fit(frame, names)
        spent = time.process_time() - start
        if spent >= task.seconds / 2:
            break
        epochs = int(epochs * min(8.0, task.seconds / spent))
    return filled.undone(model.sample(task.n).astype(np.float64).to_numpy())


def smote(task: Task) -> Rows:
    from imblearn.over_sampling import SMOTE, SMOTENC

    filled = Filled.of(task)
    y = filled.rows[:, task.target].astype(int)
    counts = np.bincount(y)
    at = [j for j in range(filled.rows.shape[1]) if j != task.target]
    rng = stream(task.seed, "benchmark smote")
    wanted = np.bincount(rng.choice(len(counts), task.n, p=counts / counts.sum()), minlength=len(counts))
    enough = {k: int(counts[k] + wanted[k]) for k in range(len(counts)) if counts[k] > 1}
    how: dict[str, Any] = {"sampling_strategy": enough, "random_state": task.seed}
    how["k_neighbors"] = min(5, int(counts[counts > 1].min()) - 1)
    words = [at.index(j) for j in filled.words if j != task.target]
    model = SMOTENC(words, **how) if words else SMOTE(**how)
    x, labels = model.fit_resample(filled.rows[:, at], y)
    out = np.empty((len(x) - len(y), filled.rows.shape[1]))
    out[:, at], out[:, task.target] = x[len(y) :], labels[len(y) :]
    return filled.undone(out)


RIVALS: dict[str, Callable[[Task], Rows]] = {
    "gaussian-copula": gaussian_copula,
    "arf": arf,
    "forest-diffusion": forest_diffusion,
    "ctgan": ctgan,
    "smote": smote,
    "resampling": resampling,
    "real": lambda task: task.train,
}
