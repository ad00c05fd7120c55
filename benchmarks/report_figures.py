"""Draw docs/report/figure-1.png to figure-7.png: the GENDI report's figures, for its recipe and for one of ours.

    gendi train mnist --preset gendi-report --images 60k --out runs/report
    gendi train mnist --images 60k --out runs/ours
    gendi evaluate runs/report --extractor inception digits; gendi evaluate runs/ours --extractor inception digits
    python benchmarks/report_figures.py runs/report runs/ours

The figures themselves come from `gendi report RUN --figures FOLDER`, whatever the run; this script puts two of them
side by side, and the two tables into docs/report.md and benchmarks/results/report-figures.json.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw
from record import DOCS, RESULTS, machine, write_table

from gendi.evaluate.result import GENDI_REPORT, Evaluation
from gendi.report.figures import NAMES, write_figures
from gendi.train.kept.bundle import load_bundle

FIGURES = ("1", "2", "3a", "3b", "4", "5", "6", "7")
WIDTH, MARGIN, HEAD = 620, 20, 30


def joined(left: Path, right: Path, names: tuple[str, str]) -> Image.Image:
    """Return two pictures on white, side by side, each below its name; they are made equally wide."""
    sides = []
    for path in (left, right):
        with Image.open(path) as picture:
            opaque = Image.new("RGB", picture.size, "white")
            opaque.paste(picture, mask=picture.getchannel("A") if picture.mode in ("LA", "RGBA") else None)
            sides.append(opaque.resize((WIDTH, round(opaque.height * WIDTH / opaque.width)), Image.Resampling.LANCZOS))
    sheet = Image.new("RGB", (2 * WIDTH + 3 * MARGIN, HEAD + MARGIN + max(side.height for side in sides)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (side, name) in enumerate(zip(sides, names, strict=True)):
        x = MARGIN + i * (WIDTH + MARGIN)
        draw.text((x, 6), name, fill="#1f2328", font_size=17)
        sheet.paste(side, (x, HEAD))
    return sheet


def facts(run: Path) -> dict[str, Any]:
    meta = load_bundle(run).meta
    evaluation = Evaluation.from_dict(json.loads((run / "evaluation.json").read_text(encoding="utf-8")))
    found = {metric.name: metric for metric in evaluation.metrics}
    return {
        "preset": load_bundle(run).config.preset,
        "images": meta.get("images"),
        "seconds": meta.get("seconds"),
        "n": evaluation.n,
        "metrics": {name: {"value": found[name].value, "floor": found[name].floor} for name in NAMES if name in found},
    }


def table(runs: list[dict[str, Any]]) -> list[str]:
    """Return the lines of the table of metrics: the report's, then each run's, then real pictures'."""

    def cell(name: str, value: float | None) -> str:
        return "" if value is None else f"{value:.2%}" if name == "confidence" else f"{value:.2f}"

    heads = [f"`{run['preset']}`, {run['images']:,.0f} images" for run in runs]
    lines = [f"| metric | the report | {' | '.join(heads)} | real pictures |", "|---|---|" + "---|" * (len(runs) + 1)]
    for name, text in NAMES.items():
        values = [cell(name, run["metrics"].get(name, {}).get("value")) for run in runs]
        floor = cell(name, runs[0]["metrics"].get(name, {}).get("floor"))
        lines.append(f"| {text} | {cell(name, GENDI_REPORT[name])} | {' | '.join(values)} | {floor} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="a run of the preset gendi-report")
    parser.add_argument("ours", type=Path)
    args = parser.parse_args()
    runs = [facts(args.report), facts(args.ours)]
    names = tuple(f"preset {run['preset']}, {run['images']:,.0f} images" for run in runs)
    (DOCS / "report").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for run, side in ((args.report, "left"), (args.ours, "right")):
            _, missing = write_figures(run, Path(folder) / side)
            if missing:
                raise SystemExit("\n".join(missing))
        for figure in FIGURES:
            paths = (Path(folder) / side / f"figure-{figure}.png" for side in ("left", "right"))
            joined(*paths, names=(names[0], names[1])).save(DOCS / "report" / f"figure-{figure}.png", optimize=True)
    (RESULTS / "report-figures.json").write_text(json.dumps({"machine": machine(), "runs": runs}, indent=1) + "\n")
    write_table("report.md", "report", table(runs))


if __name__ == "__main__":
    main()
