"""Does it help to start from weights? 500 pictures of digits that the source has never seen, a minute of training each.

    python benchmarks/start_from.py [--source-seconds 480] [--seconds 60] [--images 500] [--n 4000] [--seeds 0 1 2]
        [--sources digits fashion] [--precision bf16]

The source is trained on MNIST's digits 0 to 4 alone (`digits`), or on Fashion-MNIST (`fashion`). The new data are 500
training pictures of the digits 5 to 9, another 500 for each seed. With each seed the preset is trained on them for the
same time, once from new weights and once from the source's; network, optimiser, batch and learning rate are the same.
Samples are compared with all of MNIST's training pictures of 5 to 9 on digit features; the floor is that of its test
pictures. Both runs may see their 500 pictures many times, and the reference holds many others: learning them by heart
does not pay. A source or run that is finished in --work is not trained again.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from record import write

import gendi
from gendi.data import Data, open_data
from gendi.train.kept.inherit import starting_config
from gendi.train.presets import get_preset

OLD, NEW = range(5), range(5, 10)
NAMES = {"digits": "MNIST, digits 0 to 4", "fashion": "Fashion-MNIST"}


def pictures_of(data: Data, digits: range) -> dict[str, Any]:
    """Return the pictures of some digits, training and test, with labels from 0 on and the digits as their names."""
    arrays: dict[str, Any] = {"labels_names": np.array([str(digit) for digit in digits])}
    for split, end in ((data.train, ""), (data.heldout, "_test")):
        labels = np.asarray(split.conditions["class"])
        rows = np.flatnonzero(np.isin(labels, list(digits)))
        arrays |= {f"images{end}": split.batch(rows), f"labels{end}": labels[rows] - digits.start}
    return arrays


def some_of(whole: dict[str, Any], n: int, seed: int) -> dict[str, Any]:
    """Return n training pictures, as many of each class, without the test pictures."""
    rng, labels = np.random.default_rng(seed), whole["labels"]
    each = [rng.permutation(np.flatnonzero(labels == k))[: n // len(NEW)] for k in range(len(NEW))]
    rows = np.sort(np.concatenate(each))
    return {"images": whole["images"][rows], "labels": labels[rows], "labels_names": whole["labels_names"]}


def saved(path: Path, arrays: dict[str, Any]) -> str:
    if not path.exists():
        np.savez(path, **arrays)
    return str(path)


def trial(work: Path, few: str, reference: str, name: str, source: Path | None, seed: int, args: Any) -> dict[str, Any]:
    out = work / f"{name}-seed{seed}"
    preset = get_preset("mnist").config
    config = starting_config(preset, source, out, False)
    config = replace(config, train=replace(config.train, seed=seed, preview_every=0, precision=args.precision))
    model = gendi.fit(few, out=out, config=config, seconds=args.seconds, init=source)
    samples = gendi.sample(model, n=args.n, seed=seed)
    metrics = gendi.measure(samples, reference, n=args.n, seed=seed, extractor="digits").to_dict()["metrics"]
    return {
        "from": name,
        "seed": seed,
        "images_seen": model.meta["images"],
        "seconds": model.meta["seconds"],
        "fid": metrics["fid-digits"]["value"],
        "floor": metrics["fid-digits"]["floor"],
    }


def summary(rows: list[dict[str, Any]], sources: list[str]) -> dict[str, Any]:
    """Return the ratio of the distances, from the source over from scratch, of each seed; the aim is at most a half."""
    scratch = {row["seed"]: row["fid"] for row in rows if row["from"] == "scratch"}
    ratios = {
        source: {str(row["seed"]): row["fid"] / scratch[row["seed"]] for row in rows if row["from"] == source}
        for source in sources
    }
    return {"ratios": ratios, "aim_met": {s: bool(r) and max(r.values()) <= 0.5 for s, r in ratios.items()}}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--source-seconds", type=float, default=480)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--n", type=int, default=4000)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--sources", choices=list(NAMES), nargs="*", default=["digits", "fashion"])
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16", help="of both, for they are compared")
    parser.add_argument("--work", type=Path, default=Path("runs") / "start_from")
    parser.add_argument("--dry", action="store_true", help="print the figures and write none")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    mnist = open_data("mnist")
    new = pictures_of(mnist, NEW)
    reference = saved(args.work / "reference.npz", new)
    of = {"digits": saved(args.work / "old.npz", pictures_of(mnist, OLD)), "fashion": "fashion-mnist"}
    sources = {name: args.work / f"source-{name}" for name in args.sources}
    for name, run in sources.items():
        gendi.fit(of[name], out=run, preset="mnist", seconds=args.source_seconds)
    rows = []
    for seed in args.seeds:
        few = saved(args.work / f"few-{args.images}-{seed}.npz", some_of(new, args.images, seed))
        for name, source in {"scratch": None, **sources}.items():
            rows.append(trial(args.work, few, reference, name, source, seed, args))
            print(rows[-1], flush=True)
    setting = {key: value for key, value in vars(args).items() if key not in ("work", "dry")}
    found = {"setting": setting, "sources": {name: NAMES[name] for name in sources}, "rows": rows}
    found |= summary(rows, args.sources)
    print(json.dumps(found, indent=1)) if args.dry else write("start_from", found)


if __name__ == "__main__":
    main()
