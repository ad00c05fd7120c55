"""The flags of other programs that people know, and what they are called here.

A flag that means the same is understood: its word is replaced before the flags are read. A flag that has no counterpart
is answered with what to write instead. The names of commands that others have are answered too.
"""

import itertools
import mimetypes
import os
from collections.abc import Collection, Sequence
from pathlib import Path

from gendi.cli.values import format_count
from gendi.errors import Mend

SAME: dict[str, tuple[str, ...]] = {
    "--resolution": ("--size",),
    "--image-size": ("--size",),
    "--output-dir": ("--out",),
    "--output": ("--out",),
    "--outdir": ("--out",),
    "--cfg": ("--guidance", "--sample.guidance"),
    "--cfg-scale": ("--guidance", "--sample.guidance"),
    "--guidance-scale": ("--guidance", "--sample.guidance"),
    "--count": ("--n",),
    "--num-samples": ("--n",),
    "--num-images": ("--n",),
    "--num-inference-steps": ("--steps",),
    "--max-train-steps": ("--steps",),
    "--num-steps": ("--steps",),
    "--train-batch-size": ("--batch-size",),
    "--lr": ("--optim.lr",),
    "--learning-rate": ("--optim.lr",),
    "--checkpoints-total-limit": ("--keep",),
    "--optimizer": ("--optim.name",),
    "--label": ("--class",),
    "--labels": ("--class",),
    "--classes": ("--class",),
    "--num": ("--n",),
    "--batch": ("--batch-size",),
    "--scale": ("--guidance",),
    "--negative-prompt": ("--negative",),
    "--max-train-samples": ("--images",),
    "--workers": ("--train.workers",),
}
"""Flags by the names that others give them; the first that a command has is meant. A guidance scale of 1 is no guidance
here as there."""

COMMANDS_ELSEWHERE = {
    "generate": "sample",
    "draw": "sample",
    "predict": "sample",
    "fit": "train",
    "finetune": "train",
    "fine-tune": "train",
    "resume": "train",
    "continue": "train",
    "test": "evaluate",
    "score": "evaluate",
    "fid": "evaluate",
    "check": "data check",
    "list": "runs",
    "ls": "runs",
    "show": "info",
    "super-resolve": "upscale",
}
"""Commands by the names that others give them."""

EPOCHS = ("--epochs", "--num-epochs", "--num-train-epochs", "--max-epochs")
BUDGETS = (
    "--max-time",
    "--images",
    "--steps",
    *(name for name, mine in SAME.items() if {*mine} & {"--images", "--steps"}),
)
_DATA = "the data are named without a flag: gendi train DATA."
_CLASSES = "subfolders are classes by themselves, as the data's own classes are; --condition none leaves them out."
_PROMPTS = (
    "there are no prompts: --class NAME asks for a class, --condition NAME=VALUE for any other condition of the data."
)
_GOES_ON = "the same command again continues where it stopped; --fresh starts over."
_PROCESSES = "one process uses one GPU; torchrun --nproc-per-node 2 -m -- gendi ... starts several."
_PRECISION = "--train.precision is bf16, fp32 or auto, which takes the faster one."
OTHERWISE: dict[str, tuple[str, str]] = {
    "--resume-from-checkpoint": ("--fresh", _GOES_ON),
    "--resume": ("--fresh", _GOES_ON),
    "--data": ("--fresh", _DATA),
    "--dataset": ("--fresh", _DATA),
    "--dataset-name": ("--fresh", _DATA),
    "--data-dir": ("--fresh", _DATA),
    "--train-data-dir": ("--fresh", _DATA),
    "--class": ("--fresh", _CLASSES),
    "--classes": ("--fresh", _CLASSES),
    "--class-cond": ("--fresh", _CLASSES),
    "--conditional": ("--fresh", _CLASSES),
    "--num-classes": ("--fresh", _CLASSES),
    "--prompt": ("--class", _PROMPTS),
    "--mixed-precision": ("--fresh", _PRECISION),
    "--fp16": ("--fresh", _PRECISION),
    "--gpus": ("--json", _PROCESSES),
    "--num-gpus": ("--json", _PROCESSES),
    "--device": (
        "--json",
        "a GPU is used if there is one; write CUDA_VISIBLE_DEVICES= in front of the command to use the CPU.",
    ),
    "--size": (
        "--sampler",
        "samples are as large as the pictures of the training; gendi upscale enlarges one.",
    ),
    "--format": ("--sampler", "the ending of --out decides: a.png is a grid, a.npz an archive, a/ a folder of PNGs."),
}
"""By flag: a flag that a command has for which this is the answer, and the answer."""
VALUED = frozenset({*EPOCHS, *OTHERWISE} - {"--resume", "--fp16", "--classes", "--class-cond", "--conditional"})
"""Those flags that have a value."""
MANY = frozenset({"--classes"})
"""Those flags that may have any number of values."""
LEARNED_BY_NAME = {"mnist": 60_000, "fashion-mnist": 60_000}
"""How many images these data have for training."""
COUNTED = 200_000
"""The most files that are counted for an answer."""


def translated(args: Sequence[str], known: Collection[str]) -> list[str]:
    """Return the words of a command line with the flags of `SAME` under the names that the command knows.

    Args:
        args: the words.
        known: the flags of the command, with their dashes.
    """
    out = []
    for word in args:
        name, equals, value = word.partition("=")
        flag = name.replace("_", "-")
        mine = next((target for target in SAME.get(flag, ()) if target in known), None) if flag not in known else None
        out.append(word if mine is None else f"{mine}{equals}{value}")
    return out


def answer(flag: str, args: Sequence[str], known: Collection[str]) -> tuple[str, Mend] | None:
    """Return what to write in the place of a flag that has no counterpart, in words and as a change of the words.

    Args:
        flag: the flag.
        args: the words of the command line.
        known: the flags of the command, with their dashes.
    """
    if flag in EPOCHS and "--max-time" in known:
        return _budget_for(flag, args)
    needed, said = OTHERWISE.get(flag, ("", ""))
    if needed not in known:
        return None
    value = value_of(flag, args)
    kept = _last_of(flag, args) if flag in MANY else value if said == _DATA else None
    return said, Mend(drop=(flag,), add=() if kept is None else (kept,))


def _last_of(flag: str, args: Sequence[str]) -> str | None:
    """Return the last value of a flag with several, if no word stands alone in front of the flag: it is what the
    command is about, as in `gendi train --classes cat dog photos`.
    """
    at = next((i for i, word in enumerate(args) if word.replace("_", "-") == flag), len(args))
    values = list(itertools.takewhile(lambda word: not word.startswith("--"), args[at + 1 :]))
    return values[-1] if values and not alone(args[:at]) else None


def _budget_for(flag: str, args: Sequence[str]) -> tuple[str, Mend]:
    """Return the budget in images that so many epochs are, or one in time where the images could not be counted.

    If there is another budget, it is left alone.
    """
    said = (
        "a run's budget is counted in images, steps or time, because the length of an epoch depends on the data set: "
    )
    value = value_of(flag, args)
    epochs = int(value) if value is not None and value.isdecimal() and 0 < int(value) < 1_000_000 else 10
    images = next((n for word in alone(args) if (n := _count_images(word))), None)
    few = 6_000 if images is None else images
    of = f"{epochs} epochs of {few:,} training images are --images {format_count(epochs * few)}; "
    if given := [word for word in args if word.partition("=")[0].replace("_", "-") in BUDGETS]:
        return f"{said}{of}but {given[0]} already gives the budget here.", Mend(drop=(flag,))
    budget = ("--max-time", "30m") if images is None else ("--images", format_count(epochs * images))
    return f"{said}{of}or give --steps or --max-time 30m.", Mend(drop=(flag,), add=budget)


def value_of(flag: str, args: Sequence[str]) -> str | None:
    """Return the value that a flag was given on a command line; None if it has none."""
    for i, word in enumerate(args):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") == flag:
            after = args[i + 1] if i + 1 < len(args) and not args[i + 1].startswith("-") else None
            return value if equals else after
    return None


def alone(args: Sequence[str]) -> list[str]:
    """Return the words that neither are flags nor follow one."""
    before = ["", *args]
    return [word for last, word in zip(before, args, strict=False) if not (last + " " + word).count("--")]


def _count_images(word: str) -> int | None:
    """Return how many images the data named `word` have for training; None if that is not known.

    In a folder, the names of the files tell it.
    """
    from gendi.data.images.hold_out import held_out_of

    if word in LEARNED_BY_NAME or not Path(word).is_dir():
        return LEARNED_BY_NAME.get(word)
    found = 0
    for i, name in enumerate(name for _, _, names in os.walk(word) for name in names):
        if i == COUNTED:
            return None
        found += (mimetypes.guess_type(name)[0] or "").startswith("image/")
    return found - held_out_of(found) if found > 1 else found or None
