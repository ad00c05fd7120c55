"""Every metric of a finished run with the `digits` and the `inception` extractor, written to results/NAME.json.

    python benchmarks/fid_of_run.py runs/demo demo-metrics [--seeds 1]

1000 samples with the run's own sampler and number of calls, against 1000 training images. Inception takes minutes on a
CPU.
"""

import argparse

from record import write

import gendi
from gendi.data import open_data
from gendi.data.images.evaluation import evaluate
from gendi.train.kept.bundle import load_bundle


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("name")
    parser.add_argument("--seeds", type=int, default=1, help="sample seeds to measure")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--sampler")
    args = parser.parse_args()
    bundle = load_bundle(args.run)
    data = open_data(bundle.meta["data_spec"])
    results = []
    for seed in range(args.seeds):
        images = gendi.sample(bundle, n=1000, seed=seed, steps=args.steps, sampler=args.sampler)
        results.append(evaluate(images, data, extractor=["digits", "inception"], n=1000).to_dict())
    write(
        args.name,
        {
            "preset": bundle.config.preset,
            "training": {k: bundle.meta[k] for k in ("step", "images", "seconds", "precision", "layout")},
            "sampler": args.sampler or bundle.config.sample.sampler,
            "calls": args.steps or bundle.config.sample.steps,
            "evaluations": results,
        },
    )
    for result in results:
        for name, metric in result["metrics"].items():
            print(name, metric["value"], metric["floor"])


if __name__ == "__main__":
    main()
