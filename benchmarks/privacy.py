"""Membership attacks on samples of tables: how much a model gives away, beside a copier and real rows.

    python benchmarks/privacy.py                        four tables: some minutes on one core
    python benchmarks/privacy.py --rows 20000 wine      a quick look; nothing is written

Each model sees so many rows of its table, repeats counted, so the figures do not depend on the machine.

Writes benchmarks/results/privacy.json and the table of docs/tables.md.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import record

import gendi
from gendi.data.tables.example import mixed_table

ROWS = 100_000
NAMES = ("wine", "breast-cancer", "mixed, 400 rows", "mixed, 4,000 rows")


def table_of(name: str) -> Any:
    """Return a table as a DataFrame."""
    from sklearn.datasets import load_breast_cancer, load_wine

    loaders = {"wine": load_wine, "breast-cancer": load_breast_cancer}
    if name in loaders:
        return loaders[name](as_frame=True).frame
    return mixed_table(400 if "400 rows" in name else 4000)


def attacked(name: str, rows: int, folder: Path) -> dict[str, Any]:
    """Return what samples of a model of the table give away that saw so many rows; 0 is a single step, after which the
    model still is the Gaussian copula that it begins as."""
    frame, out = table_of(name), folder / f"{name.replace(' ', '-')}-{rows}"
    model = gendi.fit(frame, out=out, quiet=True, **({"images": rows} if rows else {"steps": 1}))
    found = gendi.privacy(model, frame)
    return {"table": name, "rows": rows, **found.to_dict()}


def lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return a row for each table."""
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
        training = f"{row['rows']:,} rows seen" if row["rows"] else "one step (Gaussian copula)"
        cells = [row["table"], f"{row['training']:,}", training, *shown, f"{best:.1%}", f"{copied:.2f}", *shares]
        out.append("| " + " | ".join(cells) + " |")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", default=list(NAMES))
    parser.add_argument("--rows", type=int, default=ROWS)
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.tables:
            for seen in (0, asked.rows):
                rows.append(attacked(name, seen, Path(folder)))
                print(lines(rows[-1:])[2], flush=True)
    if asked.rows == ROWS and asked.tables == list(NAMES):
        record.write("privacy", {"seen": ROWS, "rows": rows})
        record.write_table("tables.md", "privacy", lines(rows))


if __name__ == "__main__":
    main()
