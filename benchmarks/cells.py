"""Cells of scanpy's packaged PBMC data: what a minute of CPU learns, against baselines, on halves held out.

    OMP_NUM_THREADS=1 python benchmarks/cells.py                     labelled and not, three splits, 60 CPU seconds each
    OMP_NUM_THREADS=1 python benchmarks/cells.py --models log        another model; --models copula log latent for all
    OMP_NUM_THREADS=1 python benchmarks/cells.py --models scvi --name cells-scvi        scVI (pip install scvi-tools)

CD4 and CD8 labels are merged and CD34+ cells dropped; half of each class is held out. A model is trained on the other
half as `gendi train` does it with the preset `cells`, draws as many cells as it was trained on (of their classes, if
labelled), and is measured by `gendi.evaluate.vectors` as everything else is. Seconds are those of fitting, training and
drawing. "gaussian factors" is the copula's codec with one Gaussian in place of the network.
"""

import argparse
import dataclasses
import json
import time
import warnings
from typing import Any

import numpy as np
import record
import torch

from gendi.data.cells.baselines import BASELINES
from gendi.data.cells.config import CellsConfig
from gendi.data.cells.demo import demo_anndata
from gendi.data.dataset import Data
from gendi.data.split import Split, class_spec, fingerprint
from gendi.diffusion.gaussian.samplers import sample
from gendi.diffusion.randomness import stream
from gendi.evaluate.vectors.rows import compute_row_metrics
from gendi.evaluate.vectors.space import RowSet
from gendi.train.config import RunConfig
from gendi.train.presets import get_preset
from gendi.train.step.probe import Choice
from gendi.train.step.resolve import prepared
from gendi.train.step.trainer import Trainer

MERGED = {
    "CD4+/CD25 T Reg": "CD4+ T",
    "CD4+/CD45RA+/CD25- Naive T": "CD4+ T",
    "CD4+/CD45RO+ Memory": "CD4+ T",
    "CD8+ Cytotoxic T": "CD8+ T",
    "CD8+/CD45RA+ Naive Cytotoxic": "CD8+ T",
}
AIMS = {
    "labelled": {"energy": 0.15, "mmd2": 0.010, "auc-forest": 0.73, "mean-r": 0.99, "variance-r": 0.98,
                 "correlation-error": 0.072, "tstr": 0.80},
    "unlabelled": {"energy": 0.33, "auc-forest": 0.87},
}  # fmt: skip


def pbmc() -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return counts (687, 765), merged labels and their names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adata = demo_anndata()
    counts = adata.X.toarray()
    labels = np.array([MERGED.get(name, name) for name in adata.obs["bulk_labels"]])
    kept = labels != "CD34+"
    names, codes = np.unique(labels[kept], return_inverse=True)
    return counts[kept].astype(np.int64), codes.astype(np.int64), tuple(map(str, names))


def halves(labels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of both halves of each class, in order."""
    rng = stream(seed, "benchmark halves")
    train = np.zeros(len(labels), bool)
    for c in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == c))
        train[rows[: len(rows) // 2]] = True
    return np.flatnonzero(train), np.flatnonzero(~train)


def dealt(counts: np.ndarray, labels: np.ndarray, names: tuple[str, ...], seed: int, labelled: bool) -> Data:
    """Return the data of one split, of which the model knows the labels or not."""
    splits = [Split(counts[r], {"class": labels[r]} if labelled else {}) for r in halves(labels, seed)]
    specs = (class_spec(names),) if labelled else ()
    found = fingerprint(*splits)
    return Data("pbmc68k", "cells:pbmc68k", *splits, specs, found, None, (), (), kind="cells", schema={})


def fitted_to(model: str, data: Data, seed: int) -> tuple[RunConfig, Data]:
    """Return the configuration of the preset `cells` with this model, and the codec and rows it makes of the data."""
    config = dataclasses.replace(
        get_preset("cells").config,
        conditions=data.conditions,
        cells=CellsConfig(model=model),  # type: ignore[arg-type]
    )
    config = dataclasses.replace(config, train=dataclasses.replace(config.train, seed=seed))
    return config, prepared(config, data)


def trained(config: RunConfig, fitted: Data, until: float) -> tuple[Trainer, int]:
    """Return a trainer after training until this time of the process, and its number of steps."""
    trainer, began, steps = Trainer(config, fitted, Choice("fp32", "contiguous", "given")), time.process_time(), 0
    while (now := time.process_time()) < until:
        trainer.step((now - began) / (until - began))
        steps += 1
    return trainer, steps


def conditions(data: Data) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(rows) for name, rows in data.train.conditions.items()}


def drawn(
    model: str, data: Data, seconds: float, seed: int, gaussian: bool = False
) -> tuple[np.ndarray, dict[str, float]]:
    """Return as many cells as were trained on, of their classes, and what it took."""
    began = time.process_time()
    config, fitted = fitted_to(model, data, seed)
    codec, n, cond = fitted.codec, len(data.train), conditions(data)
    if gaussian:
        rows = fitted.train.batch(range(n)).astype(np.float64)
        x = stream(seed, "gaussian factors").multivariate_normal(rows.mean(0), np.cov(rows.T), n)
        return codec.decode(torch.from_numpy(x), cond, seed, 0).numpy(), {"seconds": time.process_time() - began}
    trainer, steps = trained(config, fitted, began + seconds - 3)  # the rest is for drawing
    settings = config.sample
    x = sample(
        trainer.ema_denoiser(), codec.shape, n, steps=settings.steps, sampler=settings.sampler, seed=seed, cond=cond
    )
    counts = codec.decode(x, cond, seed, 0).numpy()
    return counts, {"seconds": time.process_time() - began, "steps": steps, "spread": float(x.std())}


def scvi_drawn(data: Data, seconds: float, seed: int) -> tuple[np.ndarray, dict[str, float]]:
    """Return as many cells as were trained on by scVI: z from its prior, classes and depths of the training cells.

    Classes enter as scVI's batches, which condition its decoder; it trains for about as long as the other models.
    """
    import logging

    import anndata
    import pandas
    import scvi

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    began, counts = time.process_time(), np.asarray(data.train.rows)
    known = data.train.conditions.get("class", np.zeros(len(counts), np.int64))
    obs = pandas.DataFrame({"batch": known.astype(str)}, index=[str(i) for i in range(len(counts))])
    adata = anndata.AnnData(counts.astype(np.float32), obs=obs)
    scvi.settings.seed = seed
    scvi.model.SCVI.setup_anndata(adata, batch_key="batch")
    model = scvi.model.SCVI(adata, gene_likelihood="nb")
    quiet = {"enable_progress_bar": False, "accelerator": "cpu", "logger": False}
    model.train(max_epochs=1, **quiet)
    first = time.process_time()
    model.train(max_epochs=20, **quiet)
    each = (time.process_time() - first) / 20
    epochs = max(1, int((seconds - 3 - (time.process_time() - began)) / each))
    model.train(max_epochs=epochs, **quiet)
    order = {name: i for i, name in enumerate(model.adata_manager.get_state_registry("batch").categorical_mapping)}
    batch = torch.tensor([[order[str(k)]] for k in known])
    depth = torch.log(torch.from_numpy(counts.sum(1, keepdims=True)).float())
    with torch.inference_mode():
        drawn = model.module.generative(torch.randn(len(counts), model.module.n_latent), depth, batch)["px"].sample()
    took = {"seconds": time.process_time() - began, "epochs": float(21 + epochs)}
    return drawn.numpy().astype(np.int64), took


def compared(data: Data, labels: np.ndarray | None, models: list[str], seconds: float, seed: int) -> dict[str, Any]:
    """Return every way's metrics on one split."""
    train, heldout = data.train, data.heldout
    known = np.zeros(len(train), np.int64) if labels is None else train.conditions["class"]
    ways: dict[str, Any] = dict.fromkeys(BASELINES) | {"gaussian factors": None} | dict.fromkeys(models)
    for way in ways:
        took: dict[str, float] = {}
        if way in BASELINES:
            counts = BASELINES[way].fit(train.rows, known).sample(len(train), known, seed)
        elif way == "gaussian factors":
            counts, took = drawn("copula", data, seconds, seed, gaussian=True)
        elif way == "scvi":
            counts, took = scvi_drawn(data, seconds, seed)
        else:
            counts, took = drawn(way, data, seconds, seed)
        sets = [(counts, train), (train.rows, train), (heldout.rows, heldout)]
        rows = [RowSet(r, None if labels is None else split.conditions["class"]) for r, split in sets]
        ways[way] = compute_row_metrics(rows[0], rows[1], rows[2], seed=seed) | took
        shown = ("energy", "mmd2", "auc-forest", "zero-fraction", "mean-r", "variance-r", "correlation-error", "tstr")
        shown += ("fold-change-slope", "closest-share", "copies", "seconds", "spread")
        row = "  ".join(f"{name} {ways[way][name]:.3f}" for name in shown if ways[way].get(name) is not None)
        print(f"seed {seed} {'labelled' if labels is not None else 'unlabelled':10} {way:16} {row}", flush=True)
    return ways


SHOWN = {
    "energy": ("energy", ".3f"), "mmd2": ("MMD²", ".4f"), "auc-forest": ("forest AUC", ".2f"),
    "zero-fraction": ("zeros", "+.3f"), "mean-r": ("r of means", ".3f"), "variance-r": ("r of variances", ".3f"),
    "correlation-error": ("correlation error", ".3f"), "tstr": ("TSTR", ".2f"),
    "fold-change-slope": ("fold-change slope", ".2f"), "closest-share": ("closest share", ".2f"),
}  # fmt: skip
AIMED = {
    "labelled": ("<= 0.15", "<= 0.010", "<= 0.73", "+- 0.01", ">= 0.99", ">= 0.98", "<= 0.072", ">= 0.80",
                 "0.90 to 1.10", "0.44 to 0.56"),
    "unlabelled": ("<= 0.33", "", "<= 0.87", "", "", "", "", "", "", ""),
}  # fmt: skip


def page(files: list[str]) -> None:
    """Put the means over the splits into docs/cells.md, from the results of several runs of this script."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name in files:
        for part, splits in json.loads((record.RESULTS / f"{name}.json").read_text())["results"].items():
            for ways in splits.values():
                for way, metrics in ways.items():
                    if name == files[0] or way not in found.get(part, {}) or len(found[part][way]) < len(splits):
                        found.setdefault(part, {}).setdefault(way, []).append(metrics)
    lines = []
    for part, ways in found.items():
        names = [name for name in SHOWN if any(name in rows[0] for rows in ways.values())]
        lines += [f"| {part} | {' | '.join(SHOWN[name][0] for name in names)} |", "|---|" + "---:|" * len(names)]
        aimed = dict(zip(SHOWN, AIMED[part], strict=True))
        lines.append(f"| *aim* | {' | '.join(aimed[name] for name in names)} |")
        for way, rows in ways.items():
            values = [[row[name] for row in rows if row.get(name) is not None] for name in names]
            cells = [record.with_interval(v, SHOWN[n][1]) if v else "" for n, v in zip(names, values, strict=True)]
            lines.append(f"| {way} | {' | '.join(cells)} |")
        lines.append("")
    record.write_table("cells.md", "cells", lines[:-1])
    chosen = ("energy", "auc-forest", "tstr", "zero-fraction")
    lines = [
        "| single cells: PBMC data, half held out, 60 s of one core, means over three splits | energy distance "
        "| forest AUC (0.5 is best) | train on samples, test on real | zeros |",
        "|---|---|---|---|---|",
    ]
    names = {"copula": "**gendi**", "nb-copula": "negative binomial + copula", "scvi": "scVI, drawn from its prior"}
    for way, name in names.items():
        rows = found["labelled"][way]
        cells = [record.with_interval([row[n] for row in rows], SHOWN[n][1]) for n in chosen]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    record.write_table("figures.md", "cells", lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["copula"], choices=["copula", "log", "latent", "scvi"])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--parts", nargs="+", default=["labelled", "unlabelled"], choices=["labelled", "unlabelled"])
    parser.add_argument("--name", default="cells")
    parser.add_argument("--keep", action="store_true", help="the results of the other part, from an earlier run")
    parser.add_argument("--page", nargs="+", help="names of results to put into docs/cells.md, and nothing else")
    args = parser.parse_args()
    if args.page:
        page(args.page)
        return
    torch.set_num_threads(1)
    counts, labels, names = pbmc()
    path = record.RESULTS / f"{args.name}.json"
    results: dict[str, Any] = json.loads(path.read_text())["results"] if args.keep and path.exists() else {}
    for part in args.parts:
        told = labels if part == "labelled" else None
        results[part] = {}
        for seed in args.seeds:
            data = dealt(counts, labels, names, seed, told is not None)
            results[part][str(seed)] = compared(data, told, args.models, args.seconds, seed)
            record.write(args.name, {"seconds": args.seconds, "aims": AIMS, "results": results})


if __name__ == "__main__":
    main()
