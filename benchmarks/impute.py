"""Filling the gaps of `mixed_table` beside the means of its law, and rows with given cells.

    python benchmarks/impute.py                the whole, two minutes of CPU time
    python benchmarks/impute.py --rows 50      a quick look; nothing is written

A model is trained for 30 CPU seconds on 4,000 rows. 200 rows without gaps that it has not seen lose 20% of their cells,
whichever. Each is filled 99 times, at 100 noise levels.

RMSE: of the mean of the draws, in standard deviations of the column, beside the RMSE of the conditional mean under the
law of the table. That mean is computed by importance sampling (`Law`): parents are drawn from the law, cells that are
given are weights. Coverage: how often the truth lies between the 5th and the 95th of the 99 draws, ties being broken at
random; 90% is right. Where: 500 rows with three given columns that fewer than 1 row in 1000 have.

Writes benchmarks/results/impute.json and the tables of docs/tables.md.
"""

import argparse
import time
from typing import Any

import numpy as np
import pandas as pd
import record
import torch
from scipy.special import expit, ndtr
from scipy.stats import norm, poisson

import gendi
from gendi.api.impute import fill
from gendi.data import open_data
from gendi.data.tables.cells import rows_of_frame
from gendi.data.tables.example import INCOME, ODDS, SHARES, mixed_table
from gendi.diffusion.gaussian.samplers import Drawing
from gendi.train.kept.bundle import Bundle
from gendi.train.presets import get_preset
from gendi.train.step.resolve import prepared, resolve
from gendi.train.step.trainer import Trainer
from gendi.train.weights.model import network_of

NUMBERS = (
    *("age", "born", "income", "savings", "height", "weight", "bmi", "children", "pulse", "signal", "echo"),
    *("score", "pressure"),
)
PARTICLES, DRAWS, MISSING = 20_000, 99, 0.2
NEW_YEAR = np.datetime64("2025-01-01")


class Law:
    """Conditional means of a row of `mixed_table` without gaps, by M particles with weights; names as in its docstring.

    Parents are drawn from the law, or are what is given; a cell that is given and has parents multiplies the weights by
    its density. Rounding is undone by a uniform number.
    """

    def __init__(self, given: dict[str, Any], rng: np.random.Generator, m: int = PARTICLES) -> None:
        self.given, self.rng, self.m, self.log_weight = given, rng, m, np.zeros(m)
        self.values: dict[str, Any] = {}
        self._people()
        self._body()
        self._ring()
        self._outcome()

    def mean(self, name: str) -> float:
        """Return the conditional mean of a column."""
        weight = np.exp(self.log_weight - self.log_weight.max())
        return float((weight * self.values[name]).sum() / weight.sum())

    def _set(self, name: str, drawn: Any, log_density: Any = None) -> Any:
        """Return the cell that is given, weighing by its density there, or else what was drawn."""
        if name not in self.given:
            self.values[name] = drawn
            return drawn
        value = self.given[name]
        if log_density is not None:
            self.log_weight = self.log_weight + log_density(value)
        self.values[name] = np.full(self.m, value)
        return self.values[name]

    def _jitter(self, unit: float) -> Any:
        return (self.rng.random(self.m) - 0.5) * unit

    def _people(self) -> None:
        rng, m = self.rng, self.m
        shares = np.array(SHARES) * ([1.0] * 4 + [0.0])  # score is there, which it never is on the islands
        shares /= shares.sum()
        region = self._set("region", rng.choice(5, m, p=shares), lambda r: np.log(shares[r])).astype(int)
        odds = (np.array(ODDS) / np.sum(ODDS, axis=1, keepdims=True))[region]
        drawn = (rng.random((m, 1)) > odds.cumsum(1)).sum(1).clip(max=3)
        self.kind = self._set("kind", drawn, lambda k: np.log(odds[:, k])).astype(int)
        effect = np.array(INCOME)[region]
        a, b = 2.0, 3 + 2 * effect
        age = 18 + 72 * rng.beta(a, b)
        if "born" in self.given:
            age = (NEW_YEAR.astype(float) - self.given["born"] + self._jitter(1)) / 365.25
        elif "age" in self.given:
            age = self.given["age"] + rng.random(m)
        if {"born", "age"} & set(self.given):
            u = ((age - 18) / 72).clip(1e-9, 1 - 1e-9)
            self.log_weight = self.log_weight + np.log(u) + (b - 1) * np.log1p(-u) + np.log((b + 1) * b)
        self._set("age", np.floor(age))
        self._set("born", NEW_YEAR.astype(float) - np.round(365.25 * age))
        centre = 9.6 + 0.012 * age + effect
        log_income = np.log(
            self._set(
                "income", np.exp(centre + 0.35 * rng.normal(size=m)), lambda v: norm.logpdf(np.log(v), centre, 0.35)
            )
        )
        none = ndtr(0.8 - 0.04 * (age - 40))
        some = np.exp(log_income + 0.5 * rng.normal(size=m))
        self._set(
            "savings",
            np.where(rng.random(m) < none, 0.0, some),
            lambda v: np.log(none) if v == 0 else np.log1p(-none) + norm.logpdf(np.log(v), log_income, 0.5),
        )
        rate = np.clip(0.05 * (age - 18), 0, 2.5)
        self._set("children", rng.poisson(rate), lambda v: poisson.logpmf(v, rate))
        smokes = 0.35 - 0.004 * (age - 18)
        smoker = self._set("smoker", rng.random(m) < smokes, lambda v: np.log(smokes if v else 1 - smokes))
        self.pulse = self._set(
            "pulse", np.round(62 + 9 * smoker + 6 * rng.normal(size=m)), lambda v: norm.logpdf(v, 62 + 9 * smoker, 6)
        )
        middle = 0.7 * (log_income - 10) / 0.45
        steps = np.array([-np.inf, -0.8, 0.1, 0.9, np.inf])
        chance = np.diff(ndtr((steps - middle[:, None]) / 0.7), axis=1)
        drawn = np.digitize(middle + 0.7 * rng.normal(size=m), steps[1:4])
        self.grade = self._set("grade", drawn, lambda g: np.log(chance[:, int(g)]))
        pressed = 105 + 0.4 * age + 4 * smoker
        self._set("pressure", np.round(pressed + 8 * rng.normal(size=m)), lambda v: norm.logpdf(v, pressed, 8))
        self.log_weight = self.log_weight + np.log1p(-expit(-3 + 0.05 * (age - 18)))  # pressure is there

    def _body(self) -> None:
        rng, m, given = self.rng, self.m, self.given
        female = self._set("female", rng.random(m) < 0.51, lambda f: np.log(0.51 if f else 0.49)).astype(bool)
        tall, heavy = np.where(female, 165, 178), np.where(female, 66, 80)
        bmi = given["bmi"] + self._jitter(0.1) if "bmi" in given else None
        if "height" in given:
            height = given["height"] + self._jitter(0.1)
        elif bmi is not None and "weight" in given:
            height = 100 * np.sqrt((given["weight"] + self._jitter(0.1)) / bmi)
        else:
            height = tall + 7 * rng.normal(size=m)
        first = (height - tall) / 7
        if "height" in given or (bmi is not None and "weight" in given):
            self.log_weight = self.log_weight + norm.logpdf(first)
            self.log_weight = self.log_weight - (0 if "height" in given else np.log(bmi / height))  # d height / d bmi
        centre, std = heavy + 11 * 0.6 * first, 11 * 0.8
        if "weight" in given:
            weight = given["weight"] + self._jitter(0.1)
            if bmi is not None and "height" not in given:
                weight = bmi * (height / 100) ** 2
        elif bmi is not None:
            weight = bmi * (height / 100) ** 2
            self.log_weight = self.log_weight + 2 * np.log(height)  # d weight / d bmi
        else:
            weight = centre + std * rng.normal(size=m)
        if "weight" in given or bmi is not None:
            self.log_weight = self.log_weight + norm.logpdf(weight, centre, std)
        self.values |= {"height": height, "weight": weight, "bmi": weight / (height / 100) ** 2}
        self._set(
            "score", 50 + 10 * (0.6 * first + 0.8 * rng.normal(size=m)), lambda v: norm.logpdf(v, 50 + 6 * first, 8)
        )

    def _ring(self) -> None:
        both = {"signal", "echo"} <= set(self.given)
        phase = 2 * np.pi * self.rng.random(self.m)
        for name, f in (("signal", np.cos), ("echo", np.sin)):
            centre = f(phase)
            density = None if both else lambda v, c=centre: norm.logpdf(v, c, 0.08)
            self._set(name, centre + 0.08 * self.rng.normal(size=self.m), density)

    def _outcome(self) -> None:
        loss = self.values["signal"] * self.values["echo"] + 0.1 * self.rng.normal(size=self.m)
        chance = expit(-1 + 0.08 * (self.pulse - 65) + 1.2 * (self.grade == 0) + 0.9 * (self.kind == 2) - 2 * loss)
        self._set("outcome", chance, lambda v: np.log(chance if v else 1 - chance))


def trained(seconds: float, seed: int) -> tuple[Bundle, Bundle]:
    """Return a model that was trained for so many CPU seconds, and the Gaussian copula, whose network gives zero."""
    data = open_data(mixed_table(4000, seed))
    config = resolve(get_preset("table").config, data)
    fitted = prepared(config, data)
    trainer, start = Trainer(config, fitted), time.process_time()
    while (spent := time.process_time() - start) < seconds:
        trainer.step(spent / seconds)
    denoiser = trainer.ema_denoiser()
    state = {name: value.detach().clone() for name, value in denoiser.network.state_dict().items()}
    empty = {
        name: torch.zeros_like(value) for name, value in network_of(config, fitted.codec.shape).state_dict().items()
    }
    codec = fitted.codec
    assert codec is not None
    kept = [Bundle(config, codec, weights, denoiser.sigma_data) for weights in (state, empty)]
    print(f"trained for {seconds:g} CPU seconds: {trainer.step_count} steps", flush=True)
    return kept[0], kept[1]


def scored(bundle: Bundle, rows: np.ndarray, gone: np.ndarray, steps: int, seed: int) -> dict[str, Any]:
    """Return the draws of the missing cells, and the CPU seconds that they took."""
    start = time.process_time()
    filled = fill(bundle, np.where(gone, np.nan, rows), DRAWS, Drawing(steps=steps, seed=seed, bounds=bundle.bounds))
    drawn = np.stack(filled.rows)
    same = bool(np.array_equal(drawn[:, ~gone], np.broadcast_to(rows[~gone], (DRAWS, int((~gone).sum())))))
    return {"drawn": drawn, "seconds": time.process_time() - start, "given cells are equal": same}


def compared(
    names: list[str],
    rows: np.ndarray,
    gone: np.ndarray,
    ideal: np.ndarray,
    drawn: np.ndarray,
    scale: np.ndarray,
    seed: int,
) -> dict[str, Any]:
    """Return RMSE beside the ideal one, and coverage, by column and pooled over the missing cells of `NUMBERS`."""
    rng, found, pooled = np.random.default_rng(seed), {}, []
    for name in NUMBERS:
        j = names.index(name)
        mine = gone[:, j]
        truth, draws = rows[mine, j], drawn[:, mine, j]
        below, ties = (draws < truth).sum(0), (draws == truth).sum(0)
        rank = below + rng.integers(0, ties + 1)
        inside = (rank >= 5) & (rank <= 94)
        ours, best = (truth - draws.mean(0)) / scale[j], (truth - ideal[mine, j]) / scale[j]
        pooled.append((ours, best, inside))
        found[name] = figures(ours, best, inside)
    return {"columns": found, "all": figures(*(np.concatenate(each) for each in zip(*pooled, strict=True)))}


def figures(ours: np.ndarray, best: np.ndarray, inside: np.ndarray) -> dict[str, float]:
    rmse, least = (max(1e-6, float(np.sqrt((error**2).mean()))) for error in (ours, best))
    return {"cells": len(ours), "rmse": rmse, "ideal": least, "ratio": rmse / least, "coverage": float(inside.mean())}


def ideals(frame: pd.DataFrame, names: list[str], rows: np.ndarray, gone: np.ndarray, seed: int) -> np.ndarray:
    """Return the conditional means of the missing cells, (n, G); NaN elsewhere."""
    rng, found = np.random.default_rng(seed), np.full(rows.shape, np.nan)
    codes = {"region": ("north", "south", "east", "west", "islands"), "kind": tuple("abcd"), "grade": tuple("DCBA")}
    for i in range(len(rows)):
        given: dict[str, Any] = {}
        for j, name in enumerate(names):
            if not gone[i, j] and name != "rhythm":
                cell = frame.iloc[i, j]
                given[name] = codes[name].index(cell) if name in codes else rows[i, j]
        law = Law(given, rng)
        for j in np.flatnonzero(gone[i]).tolist():
            if names[j] in NUMBERS:
                found[i, j] = law.mean(names[j])
    return found


def where(bundle: Bundle) -> dict[str, Any]:
    """Return how long 500 rows with given columns take that fewer than 1 row in 1000 have, and how many have them."""
    cells = {"region": "west", "kind": "b", "children": 4}
    many = mixed_table(400_000, 7)
    share = float(np.logical_and.reduce([many[name] == value for name, value in cells.items()]).mean())
    real = many[np.logical_and.reduce([many[name] == value for name, value in cells.items()])]
    start, used = time.perf_counter(), time.process_time()
    drawn = gendi.sample(bundle, 500, where=cells)
    seconds = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - used}
    kept = int(np.logical_and.reduce([drawn[name] == value for name, value in cells.items()]).sum())
    shift = {
        name: {"drawn": float(drawn[name].mean()), "true": float(real[name].mean()), "std": float(real[name].std())}
        for name in ("age", "income", "pulse", "height")
    }
    return {"cells": cells, "share": share, "rows": kept, "means": shift} | seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--copula", action="store_true", help="also the Gaussian copula, for as long again")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model, copula = trained(asked.seconds, 0)
    print("where", drawn := where(model), flush=True)
    frame = mixed_table(4 * asked.rows, seed=99).dropna().iloc[: asked.rows].reset_index(drop=True)
    schema = model.codec.schema  # type: ignore[attr-defined]
    names = [column.name for column in schema.columns]
    rows = rows_of_frame(schema, frame, "the table")
    gone = np.random.default_rng(1).random(rows.shape) < MISSING
    ideal = ideals(frame, names, rows, gone, 2)
    scale = rows_of_frame(schema, mixed_table(4000, 5), "the table")
    scale = np.nanstd(scale, axis=0)
    results = {}
    for who, bundle in (("gendi", model), ("gaussian-copula", copula))[: 1 + asked.copula]:
        made = scored(bundle, rows, gone, asked.steps, 3)
        results[who] = compared(names, rows, gone, ideal, made.pop("drawn"), scale, 4) | made
        print(who, {key: value for key, value in results[who].items() if key != "columns"}, flush=True)
        for name, each in results[who]["columns"].items():
            print(f"  {name:9}", "  ".join(f"{key} {value:.3f}" for key, value in each.items()), flush=True)
    if asked.rows >= 200:
        settings = {"rows": asked.rows, "draws": DRAWS, "missing": MISSING, "cpu_seconds": asked.seconds}
        record.write("impute", {**settings, "steps": asked.steps, "results": results, "where": drawn})
        page(results)


def page(results: dict[str, Any]) -> None:
    heads = ("column", "RMSE of the law's mean", "RMSE of the mean of draws", "ratio", "coverage")
    lines = [f"| {' | '.join(heads)} |", "|---|---|---|---|---|"]
    ours = results["gendi"]
    for name in (*NUMBERS, "all"):
        each = ours["all"] if name == "all" else ours["columns"][name]
        coverage = record.share(each["coverage"], each["cells"])
        cells = (f"{each['ideal']:.3f}", f"{each['rmse']:.3f}", f"{each['ratio']:.2f}", coverage)
        lines.append(f"| {' | '.join((name, *cells))} |")
    record.write_table("tables.md", "impute", lines)


if __name__ == "__main__":
    main()
