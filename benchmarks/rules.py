"""What rules cost a table: rows that break them without them, and the energy distance to new rows with and without.

    python benchmarks/rules.py          half a minute of CPU time

The table keeps an order, a sum, a function, combinations and a distance of dates, and its law is known, so new rows can
be drawn to compare with. Both models are Gaussian copulas: their networks give zero, so that nothing but the rules
differs. Of 10,000 samples each, the rows that break each rule are counted, and the energy distance of standardised
columns to 2,000 new rows is measured on 2,000 of them, with its standard error over five parts.

Writes benchmarks/results/rules.json and the table of docs/tables.md.
"""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import record
import torch

import gendi
from gendi.data import open_data
from gendi.data.tables.config import TableConfig
from gendi.data.tables.evaluate import Features, rows_of
from gendi.data.tables.rules import read_rules
from gendi.evaluate.vectors.distances import energy_distance
from gendi.train.kept.bundle import Bundle
from gendi.train.presets import get_preset
from gendi.train.step.resolve import prepared, resolve
from gendi.train.weights.model import network_of

RULES = ("start <= end", "gross = net + tax", "wage = exp(logwage)", "combinations(city, country)", "last = start + 30")
N, COMPARED, PARTS = 10_000, 2_000, 5


def people(n: int, seed: int) -> pd.DataFrame:
    """Return n rows of a table that keeps `RULES`."""
    rng = np.random.default_rng(seed)
    start = pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, n), unit="D")
    net, town, logwage = rng.gamma(3, 500, n).round(2) + 1, rng.integers(0, 6, n), rng.normal(4.5, 0.4, n)
    tax = (net * rng.uniform(0.1, 0.4, n)).round(2)
    return pd.DataFrame(
        {
            "start": start,
            "end": start + pd.to_timedelta(rng.geometric(0.03, n) - 1, unit="D"),
            "net": net,
            "tax": tax,
            "gross": (net + tax).round(2),
            "logwage": logwage,
            "wage": np.exp(logwage),
            "city": np.array(["Ulm", "Bonn", "Linz", "Graz", "Basel", "Bern"])[town],
            "country": np.array(["DE", "DE", "AT", "AT", "CH", "CH"])[town],
            "last": start + pd.to_timedelta(30, unit="D"),
        }
    )


def copula(frame: pd.DataFrame, rules: tuple[str, ...]) -> Bundle:
    """Return a model of a table whose network gives zero."""
    data = open_data(frame)
    config = resolve(dataclasses.replace(get_preset("table").config, table=TableConfig(rules)), data)
    codec = prepared(config, data).codec
    assert codec is not None
    state = {name: torch.zeros_like(value) for name, value in network_of(config, codec.shape).state_dict().items()}
    return Bundle(config, codec, state)


def main() -> None:
    torch.set_num_threads(1)
    frame, new = people(3000, 0), people(COMPARED, 1)
    schema, results = open_data(frame).schema, dict[str, Any]()
    real, fresh = rows_of(frame, schema), rows_of(new, schema)
    features = Features.fit(schema, real)
    middle, spread = features(real).mean(0), features(real).std(0)
    rules = read_rules(RULES, schema, real)
    for who, kept in (("without", ()), ("with", RULES)):
        rows = rows_of(gendi.sample(copula(frame, kept), N, steps=10, batch_size=2000), schema)
        parts = [
            energy_distance((features(x) - middle) / spread, (features(y) - middle) / spread)
            for x, y in zip(np.split(rows[:COMPARED], PARTS), np.split(fresh, PARTS), strict=True)
        ]
        broken = {rule.text: int((~rule.kept(rows)).sum()) for rule in rules}
        energy, error = float(np.mean(parts)), float(np.std(parts, ddof=1) / PARTS**0.5)
        results[who] = {"broken": broken, "energy": energy, "error": error}
        print(who, results[who], flush=True)
    record.write("rules", {"rows": N, "compared": COMPARED, "results": results})
    lines = ["| rule | broken without rules | with rules |", "|---|---|---|"]
    for text in RULES:
        a, b = (results[who]["broken"][text] for who in ("without", "with"))
        lines.append(f"| `{text}` | {a / N:.1%} | {b / N:.1%} |")
    shown = [f"{results[who]['energy']:.3f} ± {2 * results[who]['error']:.3f}" for who in ("without", "with")]
    lines.append(f"| *energy distance to new rows* | {shown[0]} | {shown[1]} |")
    record.write_table("tables.md", "rules", lines)


if __name__ == "__main__":
    main()
