"""Put a trained model, and its student, among the models that come with gendi.

    gendi train mnist --images 1M --out runs/box && gendi distil runs/box --out runs/box-student
    python benchmarks/ship.py runs/box --student runs/box-student --name digits

The weights are rounded to float16. What is said of the model on its card is measured with the rounded weights: the
metrics of N samples, and by how much rounding changed the denoiser's answers on held-out rows at several noise levels.
Nothing is written if that is more than `MOST_CHANGED`, or if all weights in the package would exceed `MOST_BYTES`.
"""

import argparse
import dataclasses
import json
import math
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gendi.api.models import Models
from gendi.api.prepared import prepare
from gendi.api.sample import draw
from gendi.api.teacher import guidance_of, teacher_request
from gendi.cli import main as gendi
from gendi.cli.evaluation_file import NEWEST
from gendi.data import open_data
from gendi.data.kinds import kind_of
from gendi.data.row_conditions import stored
from gendi.evaluate import Evaluation
from gendi.storage.files import atomic_write
from gendi.train.kept.as_flags import student_command, train_command
from gendi.train.kept.belongings import TEACHER_EVALUATION, TEACHER_SAMPLES
from gendi.train.kept.bundle import FLOAT16, STORED, Bundle, as_float16, load_bundle, save_bundle
from gendi.train.kept.folders import BUNDLE, UNFINISHED
from gendi.train.kept.shipped import META, home
from gendi.train.kept.start import digest
from gendi.train.kept.stored import stored_tables

MOST_BYTES = 8_000_000
"""All weights in the package together, the digit classifier's included."""
LEVELS = (0.02, 0.2, 1.0, 5.0, 50.0)
"""Noise levels sigma / alpha at which the rounded denoiser is compared."""
MOST_CHANGED = 5e-3
"""The largest relative error of its answers."""
ROWS = 64
"""How many held-out rows they are compared on."""
LICENSES = {"mnist": "CC BY-SA 3.0 (Y. LeCun, C. Cortes)", "fashion-mnist": "MIT (Zalando SE)"}
"""Licences of the data, by name."""
ABOUT = {
    "mnist": "handwritten digits of 28 x 28 pixels, asked for by class",
    "fashion-mnist": "clothes, shoes and bags of 28 x 28 pixels, asked for by class",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="folder of the run")
    parser.add_argument("--student", help="folder of its student, which is shipped as NAME-student")
    parser.add_argument("--name", required=True)
    parser.add_argument("--about", help="what it draws, in a few words")
    parser.add_argument("--license", help="licence of the data")
    parser.add_argument("--made-by", help="how, where one command does not say it: a budget that changed on the way")
    parser.add_argument("--student-made-by", help="the same of the student")
    parser.add_argument("--n", type=int, default=5000, help="samples to measure; 0 for none")
    args = parser.parse_args()
    names = {args.name: args.run} | ({f"{args.name}-student": args.student} if args.student else {})
    require_room({name: load_bundle(run) for name, run in names.items()})
    for name, run in names.items():
        ship(name, Path(run), args)
    if args.student:
        beside(args.name, Path(args.student))


def require_room(bundles: dict[str, Bundle]) -> None:
    """Exit if the weights in the package, with these in it, would be too many bytes."""
    new = sum(2 * tensor.numel() for bundle in bundles.values() for tensor in bundle.state.values())
    package = home().parent
    replaced = {home() / name for name in bundles}
    old = sum(path.stat().st_size for path in package.rglob("*.safetensors") if not replaced & {*path.parents})
    if old + new > MOST_BYTES:
        sys.exit(f"the weights in the package would be {old + new:,} bytes; at most {MOST_BYTES:,} are shipped")


def ship(name: str, run: Path, args: argparse.Namespace) -> None:
    """Measure the model of a run with rounded weights, and write it into the package as `name`."""
    bundle, student = load_bundle(run), name != args.name
    if UNFINISHED in bundle.meta:
        sys.exit(f"{run} has not finished: ship the model of its end")
    spec, budget = bundle.meta["data_spec"], stored_tables(run)["budget"]
    made = (
        student_command(args.name, bundle.config, budget, f"runs/{name}")
        if student
        else train_command(spec, bundle.config, None, budget, f"runs/{name}")
    )
    few = f", in {bundle.config.sample.steps} calls: the student of {args.name}" if student else ""
    facts: dict[str, Any] = {
        "about": f"{args.about or ABOUT[spec]}{few}",
        "parameters": sum(tensor.numel() for tensor in bundle.state.values()),
        "license": args.license or LICENSES[spec],
        "command": (args.student_made_by if student else args.made_by) or " ".join(made),
        "float32_sha256": digest(bundle.state),
        "rounding": changed_by_rounding(bundle),
    }
    if (worst := max(facts["rounding"].values())) > MOST_CHANGED:
        sys.exit(f"{run}: float16 changes the denoiser's answers by {worst:.1e}, more than {MOST_CHANGED:.0e}")
    facts["trained_in"] = bundle.meta.get("precision")
    meta = {**bundle.meta, STORED: FLOAT16, META: facts, "precision": "fp32"}  # quick on processors without bf16 too
    if student:
        meta["start"] = {**bundle.meta["start"], "from": args.name}
    evaluation = measured(dataclasses.replace(bundle, meta=meta), name, args.n).to_dict() if args.n else None
    (home() / name / NEWEST).unlink(missing_ok=True)
    if evaluation is not None:
        shown = ("value", "interval", "floor", "floor_interval")
        metrics = evaluation["metrics"]
        meta["metrics"] = {metric: {key: found[key] for key in shown} for metric, found in metrics.items()}
        facts["evaluated"] = {key: evaluation[key] for key in ("n", "seed", "reference_n")}
    save_bundle(home() / name / BUNDLE, dataclasses.replace(bundle, meta=meta))
    if evaluation is not None:
        atomic_write(home() / name / NEWEST, json.dumps(evaluation, ensure_ascii=False, allow_nan=False) + "\n")
    print(f"{home() / name}: answers changed by at most {worst:.1e}")


def beside(name: str, student: Path) -> None:
    """Put samples and the evaluation of the teacher, with its rounded weights, beside its student, for its report."""
    teacher, folder = load_bundle(home() / name), home() / f"{name}-student"
    guidance = guidance_of(load_bundle(student).config)
    request = teacher_request(teacher, guidance, name)
    images = draw(prepare(request, Models.read(teacher, request.guidance)))
    kind_of(teacher.codec.kind).write(folder / TEACHER_SAMPLES, images, request.texts)
    (folder / TEACHER_EVALUATION).unlink(missing_ok=True)
    if (home() / name / NEWEST).is_file():
        shutil.copyfile(home() / name / NEWEST, folder / TEACHER_EVALUATION)


def measured(bundle: Bundle, name: str, n: int) -> Evaluation:
    """Return what `gendi evaluate` says of n samples of a bundle."""
    with tempfile.TemporaryDirectory() as place:
        run = Path(place) / name
        save_bundle(run / BUNDLE, bundle)
        if gendi(["evaluate", str(run), "--n", str(n)]):
            sys.exit("the samples could not be measured")
        found = Evaluation.from_dict(json.loads((run / NEWEST).read_text(encoding="utf-8")))
    return dataclasses.replace(found, source={**found.source, "run": name})


def changed_by_rounding(bundle: Bundle) -> dict[str, float]:
    """Return by noise level |D_16 - D_32| / |D_32|, root mean squares over held-out rows; two digits of it."""
    data = open_data(bundle.meta["data_spec"], size=bundle.codec.size)
    rows = np.arange(ROWS)
    cond = stored(bundle.config.conditions, data.heldout, rows)
    x_0 = data.encode(torch.from_numpy(data.heldout.batch(rows)), cond, torch.from_numpy(rows))
    eps = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(0))
    rounded = {name: tensor.to(bundle.state[name].dtype) for name, tensor in as_float16(bundle.state).items()}
    meta = {**bundle.meta, "precision": "fp32"}
    before, after = (dataclasses.replace(bundle, state=s, meta=meta).denoiser() for s in (bundle.state, rounded))
    found = {}
    for level in LEVELS:
        t = before.schedule.time(-2 * math.log(level))
        alpha, sigma = (value.float() for value in before.schedule(t))
        x_t = alpha * x_0 + sigma * eps
        with torch.no_grad():
            old, new = before(x_t, t, **cond), after(x_t, t, **cond)
        found[f"{level:g}"] = float(f"{(new - old).norm() / old.norm():.1e}")
    return found


if __name__ == "__main__":
    main()
