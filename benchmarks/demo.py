"""`make demo` from a fresh clone, as a new user would: wall time, peak memory and metrics, in results/demo-KIND.json.

    python benchmarks/demo.py [--minutes 8] [--folder DIR] [--inception]

The clone is of this repository's HEAD, with an empty cache folder, so installation and the fetching of MNIST count.
Peak memory is the largest resident size of any one process. `--inception` adds the Inception figures of the same
samples (minutes, not counted), with the run left in DIR for a look.
"""

import argparse
import json
import os
import resource
import subprocess
import tempfile
import time
from pathlib import Path

from record import kind, write

HERE = Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--inception", action="store_true")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp())
    clone = folder / "gendi"
    environment = {**os.environ, "GENDI_CACHE": str(folder / "cache")}
    environment.pop("PYTHONPATH", None)
    subprocess.run(["git", "clone", "-q", str(HERE), str(clone)], check=True)
    command = ["make", "demo", f"MINUTES={args.minutes:g}"]
    start = time.perf_counter()
    subprocess.run(command, cwd=clone, env=environment, check=True)
    first = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    start = time.perf_counter()
    subprocess.run(command, cwd=clone, env=environment, check=True)
    second = time.perf_counter() - start
    run = clone / "runs" / "demo"
    evaluation = json.loads((run / "evaluation.json").read_text())
    figures = {
        "what": f"make demo MINUTES={args.minutes:g} from a fresh clone, nothing cached",
        "wall_seconds": first,
        "wall_seconds_of_a_second_call": second,
        "peak_process_bytes": peak,
        "timings": json.loads((run / "timings.json").read_text()),
        "status": json.loads((run / "status.json").read_text()),
        "log": (run / "train.log").read_text().splitlines(),
        "metrics": evaluation["metrics"],
        "histogram": evaluation["classes"]["histogram"],
    }
    if args.inception:
        gendi = [str(clone / ".venv/bin/gendi"), "evaluate", str(run), "--extractor", "inception", "--json"]
        figures["inception"] = json.loads(
            subprocess.run(gendi, env=environment, check=True, capture_output=True).stdout
        )["metrics"]
    write(f"demo-{kind().lower()}", figures)


if __name__ == "__main__":
    main()
