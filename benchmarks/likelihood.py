"""Bits per dimension of the MNIST test set beside the quality of samples, one row per trained run.

    python benchmarks/likelihood.py RUN [RUN ...] [--n 1000] [--ode-n 200] [--draws 100] [--other fashion-mnist]

For each run: the variational bound (prior, divergences, decoder) on n test images, the code length under the
probability-flow ODE on ode-n of them, each with its standard error; the bound on Fashion-MNIST and the AUROC of telling
the two sets apart; and the FID on digit features of 1000 samples at the run's own sampler and calls. `--ode-n 0` and
`--other none` leave those out. A row is written as soon as it is measured and replaces that of the same preset,
schedule, weighting and output, so runs may be added one by one; the table in docs/likelihood.md is written from them:

    gendi train mnist --preset mnist-likelihood --out runs/likelihood
    for p in mu vlb vlb-learned simple hybrid; do gendi train mnist --preset ablation-$p --out runs/$p; done
"""

import argparse
import json
import time
from typing import Any

from record import RESULTS, Z95, write, write_table

import gendi
from gendi.data import open_data
from gendi.data.images.evaluation import evaluate
from gendi.diffusion.gaussian.likelihood import Bound, Estimate, auroc
from gendi.errors import GendiError
from gendi.train.kept.bundle import load_bundle


def key(row: dict[str, Any]) -> tuple[str, ...]:
    return row["preset"], row["schedule"], row["weighting"], row.get("output", "linear")


def figures(value: Estimate) -> dict[str, float]:
    return {"bits_per_dim": value.bits, "standard_error": value.bits_error}


def measure(run: str, n: int, ode_n: int, draws: int, other: str) -> dict[str, Any]:
    bundle = load_bundle(run)
    data = open_data(bundle.meta["data_spec"])
    row: dict[str, Any] = {
        "preset": bundle.config.preset,
        "schedule": bundle.config.process.schedule,
        "weighting": bundle.config.objective.weighting,
        "output": bundle.config.network.output,
        "training": {k: bundle.meta[k] for k in ("step", "images", "seconds", "precision")},
    }
    start = time.perf_counter()
    bound = gendi.bits_per_dim(bundle, data, n=n, draws=draws)
    assert isinstance(bound, Bound)
    row["elbo"] = {
        "n": n,
        "draws": draws,
        "steps": bound.steps,
        "variance": bound.variance,
        "smallest": bound.smallest,
        "total": figures(bound.total),
        **{name: figures(getattr(bound, name)) for name in ("prior", "kl", "decoder")},
        "seconds": time.perf_counter() - start,
    }
    print(row, flush=True)
    if ode_n:
        start = time.perf_counter()
        density = gendi.bits_per_dim(bundle, data, method="ode", n=ode_n)
        row["ode"] = {
            "n": ode_n,
            "total": figures(density.total),
            "calls": float(density.calls.double().mean()) if not isinstance(density.calls, int) else density.calls,
            "seconds": time.perf_counter() - start,
        }
    try:
        strange = gendi.bits_per_dim(bundle, other, n=n, draws=draws)
        row["other"] = {"data": other, "total": figures(strange.total), "auroc": auroc(bound.values, strange.values)}
    except GendiError as error:  # "none", or no source of the data at hand
        print(f"{other}: {error}")
    samples = gendi.sample(bundle, n=1000)
    metrics = evaluate(samples, data, extractor="digits").to_dict()["metrics"]
    row["samples"] = {
        "sampler": bundle.config.sample.sampler,
        "calls": bundle.config.sample.steps,
        **{k: metrics[k]["value"] for k in ("fid-digits", "confidence")},
        "floor": metrics["fid-digits"]["floor"],
    }
    return row


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--ode-n", type=int, default=200)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--other", default="fashion-mnist")
    args = parser.parse_args()
    path = RESULTS / "likelihood.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    for run in args.runs:
        row = measure(run, args.n, args.ode_n, args.draws, args.other)
        rows = [old for old in rows if key(old) != key(row)] + [row]
        write("likelihood", {"rows": rows})
        write_table("likelihood.md", "measured", table(rows))


def table(rows: list[dict[str, Any]]) -> list[str]:
    """Return the lines of a table, a row per run, in the order of bits per dimension."""
    lines = [
        "| preset | schedule | weighting | output | images seen | bound | below the first step | ODE | FID, digits |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: row["elbo"]["total"]["bits_per_dim"]):
        bound, ode, drawn = row["elbo"], row.get("ode"), row["samples"]
        cells = [
            f"`{row['preset']}`",
            row["schedule"],
            row["weighting"],
            row.get("output", "linear"),
            f"{row['training']['images']:,}",
            f"{bound['total']['bits_per_dim']:.3f} ± {Z95 * bound['total']['standard_error']:.3f}",
            f"{bound['decoder']['bits_per_dim']:.3f}",
            f"{ode['total']['bits_per_dim']:.3f} ± {Z95 * ode['total']['standard_error']:.3f}" if ode else "",
            f"{drawn['fid-digits']:.3f} at {drawn['calls']} calls",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main()
