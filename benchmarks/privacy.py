"""Membership attacks on samples of tables: how much a model gives away, beside a copier and real rows.

    python benchmarks/privacy.py                                    four tables: some minutes on one core
    python benchmarks/privacy.py --tables wine --models noise       one table, one way to train
    python benchmarks/privacy.py --rows 20000 --tables wine         a quick look; nothing is written

Each model sees so many rows of its table, repeats counted, so the figures do not depend on the machine. *noise* is the
preset, whose training rows have noise if they are few (gendi.train.step.smoothing), and *plain* the same without; a
table of many rows has no noise, and only *plain*. *copula* is a single step, after which the model still is the
Gaussian copula that it begins as.

Each result takes the place of one of the same table and model in benchmarks/results/privacy.json, and the table of
docs/tables.md is written anew from it.
"""

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import record

import gendi
from gendi.data.tables.example import mixed_table
from gendi.train.presets import get_preset

ROWS = 100_000
FILE = record.RESULTS / "privacy.json"
MODELS = {
    "copula": "one step (Gaussian copula)",
    "plain": "{seen:,} rows seen, no noise",
    "noise": "{seen:,} rows seen",
}
NAMES = ("wine", "breast-cancer", "mixed, 400 rows", "mixed, 4,000 rows")


def table_of(name: str) -> Any:
    """Return a table as a DataFrame."""
    from sklearn.datasets import load_breast_cancer, load_wine

    loaders = {"wine": load_wine, "breast-cancer": load_breast_cancer}
    if name in loaders:
        return loaders[name](as_frame=True).frame
    return mixed_table(400 if "400 rows" in name else 4000)


def attacked(name: str, which: str, rows: int, folder: Path) -> dict[str, Any]:
    """Return what samples of a model of the table give away that saw so many rows."""
    frame, out, config = table_of(name), folder / f"{name.replace(' ', '-')}-{which}", get_preset("table").config
    if which != "noise":
        config = dataclasses.replace(config, train=dataclasses.replace(config.train, smoothing=0.0))
    budget = {"steps": 1} if which == "copula" else {"images": rows}
    model = gendi.fit(frame, out=out, config=config, quiet=True, **budget)
    found = gendi.privacy(model, frame)
    return {"table": name, "model": which, "smoothing": model.config.train.smoothing, **found.to_dict()}


def lines(rows: list[dict[str, Any]], seen: int) -> list[str]:
    """Return a row for each model of each table."""
    out = [
        "| table | rows trained on | training | AUC by distance | calibrated | found at 1% false alarms "
        "| a copier's AUC | closest share | copies |",
        "|---" * 9 + "|",
    ]
    for row in rows:
        sets = row["sets"]
        of, copier = sets["samples"]["attacks"], sets["copier"]["attacks"]
        shown = [f"{a['auc']:.2f} ({a['interval'][0]:.2f} to {a['interval'][1]:.2f})" for a in of.values()]
        best = max(a["found"]["value"] for a in of.values())
        shares = [f"{sets['samples'][name]['value']:.3f}" for name in ("closest_share", "copies")]
        copied = max(a["auc"] for a in copier.values())
        training = MODELS[row["model"]].format(seen=seen)
        if row["smoothing"]:
            training += f", noise of {row['smoothing']:.2g}"
        cells = [row["table"], f"{row['training']:,}", training, *shown, f"{best:.1%}", f"{copied:.2f}", *shares]
        out.append("| " + " | ".join(cells) + " |")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rows", type=int, default=ROWS)
    asked = parser.parse_args()
    known = json.loads(FILE.read_text("utf-8"))["rows"] if FILE.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.tables:
            for which in asked.models:
                one = attacked(name, which, asked.rows, Path(folder))
                if which == "noise" and not one["smoothing"]:
                    continue
                print(lines([one], asked.rows)[2], flush=True)
                known = [*(r for r in known if (r["table"], r["model"]) != (name, which)), one]
    if asked.rows == ROWS:
        ordered = sorted(known, key=lambda row: (NAMES.index(row["table"]), list(MODELS).index(row["model"])))
        record.write("privacy", {"seen": ROWS, "rows": ordered})
        record.write_table("tables.md", "privacy", lines(ordered, ROWS))


if __name__ == "__main__":
    main()
