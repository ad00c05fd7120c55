"""Draw docs/few-calls.png: a teacher in 20 calls and its student in 1, 2 and 4, from the same noise.

    python benchmarks/few_calls.py digits digits-student

The teacher is drawn by a sampler of the probability-flow ODE, with the guidance that the student has built in. The
pictures are the first samples of seed 0, none picked.
"""

import argparse
from pathlib import Path

from matplotlib import pyplot as plt

from gendi.api.models import Models
from gendi.api.prepared import prepare
from gendi.api.sample import draw
from gendi.api.teacher import guidance_of, teacher_request
from gendi.data.images.pictures import grid_image
from gendi.report.teacher import in_words, student_rows
from gendi.train.kept.bundle import load_bundle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="the teacher: a run, a bundle or a model that comes with gendi")
    parser.add_argument("student")
    parser.add_argument("--n", type=int, default=20, help="samples in a row")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "docs" / "few-calls.png")
    args = parser.parse_args()
    teacher, student = load_bundle(args.run), load_bundle(args.student)
    request = teacher_request(teacher, guidance_of(student.config), n=args.n)
    images = draw(prepare(request, Models.read(teacher, request.guidance)))
    rows = [(f"teacher, {in_words(request.how.steps)}", images), *student_rows(student, args.n)]
    figure, axes = plt.subplots(len(rows), 1, figsize=(0.5 * args.n + 1.4, 0.55 * len(rows)), layout="constrained")
    for ax, (name, pictures) in zip(axes, rows, strict=True):
        ax.imshow(grid_image(pictures, args.n, scale=2, paper=255), cmap="gray", vmin=0, vmax=255)
        ax.set_axis_off()
        ax.text(-0.01, 0.5, name, transform=ax.transAxes, ha="right", va="center", fontsize=9)
    figure.savefig(args.out, dpi=110, bbox_inches="tight")
    print(args.out)


if __name__ == "__main__":
    main()
