"""The samplers at equal numbers of calls on one trained run: distance on digit features and how bold the digits are.

    python benchmarks/samplers.py RUN [--calls 10 20]

`ink` is the share of pixels above 128 (of the first 10,000 training images: `real_ink`). 1000 samples of seed 0 each,
against 1000 training images.
"""

import argparse
import time

from record import write

import gendi
from gendi.bundle import load_bundle
from gendi.data import open_data
from gendi.evaluate import evaluate
from gendi.samplers import SAMPLERS


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--calls", type=int, nargs="*", default=[10, 20])
    args = parser.parse_args()
    bundle, rows = load_bundle(args.run), []
    data = open_data(bundle.meta["data_spec"])
    for name in SAMPLERS:
        for calls in args.calls:
            start = time.perf_counter()
            images = gendi.sample(bundle, n=1000, steps=calls, sampler=name)
            seconds = time.perf_counter() - start
            metrics = evaluate(images, data, extractor="digits").to_dict()["metrics"]
            chosen = {k: metrics[k]["value"] for k in ("fid-digits", "precision-digits", "recall-digits", "confidence")}
            rows.append(
                {"sampler": name, "calls": calls, **chosen, "ink": float((images > 128).mean()), "seconds": seconds}
            )
            print(rows[-1], flush=True)
    real = float((data.train.images[:10_000] > 128).mean())
    write("samplers", {"preset": bundle.config.preset, "images": bundle.meta["images"], "real_ink": real, "rows": rows})


if __name__ == "__main__":
    main()
