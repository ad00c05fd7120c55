"""Membership attacks on samples of tables: how much a model gives away, beside a copier and real rows.

    python benchmarks/privacy.py                     four tables, a minute of training each
    python benchmarks/privacy.py --seconds 5 wine    a quick look; nothing is written

Writes benchmarks/results/privacy.json and the table of docs/tables.md.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import record

import gendi
from gendi.data.tables.example import mixed_table

SECONDS, SEEDS = 60.0, (0,)
NAMES = ("wine", "breast-cancer", "mixed, 400 rows", "mixed, 4,000 rows")


def table_of(name: str) -> Any:
    """Return a table as a DataFrame."""
    from sklearn.datasets import load_breast_cancer, load_wine

    loaders = {"wine": load_wine, "breast-cancer": load_breast_cancer}
    if name in loaders:
        return loaders[name](as_frame=True).frame
    return mixed_table(400 if "400 rows" in name else 4000)


def attacked(name: str, seconds: float, folder: Path) -> dict[str, Any]:
    """Return what samples of a model of the table give away after so many seconds of training."""
    frame = table_of(name)
    model = gendi.fit(frame, out=folder / name.replace(" ", "-"), seconds=seconds, quiet=True)
    found = gendi.privacy(model, frame)
    return {"table": name, "seconds": seconds, **found.to_dict()}


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return a row for each table."""
    out = [
        "| table | rows trained on | AUC by distance | calibrated | found at 1% false alarms | a copier's AUC "
        "| closest share | copies |",
        "|---" * 8 + "|",
    ]
    for row in rows:
        sets = row["sets"]
        of, copier = sets["samples"]["attacks"], sets["copier"]["attacks"]
        shown = [f"{a['auc']:.2f} ({a['interval'][0]:.2f} to {a['interval'][1]:.2f})" for a in of.values()]
        best = max(a["found"]["value"] for a in of.values())
        shares = [f"{sets['samples'][name]['value']:.3f}" for name in ("closest_share", "copies")]
        copied = max(a["auc"] for a in copier.values())
        cells = [row["table"], f"{row['training']:,}", *shown, f"{best:.1%}", f"{copied:.2f}", *shares]
        out.append("| " + " | ".join(cells) + " |")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", default=list(NAMES))
    parser.add_argument("--seconds", type=float, default=SECONDS)
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.tables:
            rows.append(attacked(name, asked.seconds, Path(folder)))
            print("\n".join(lines(rows[-1:])[2:]), flush=True)
    if asked.seconds == SECONDS and asked.tables == list(NAMES):
        record.write("privacy", {"seconds": SECONDS, "rows": rows})
        record.write_table("tables.md", "privacy", lines(rows))


if __name__ == "__main__":
    main()
