"""The commands, and the parts of a command line. This module needs no more than Python itself."""

import importlib
from collections.abc import Sequence
from typing import Any

from gendi.errors import Mend, UsageError

COMMANDS = {
    "train": "learn from a data set within a budget; run again, it goes on",
    "sample": "draw samples from a run: a grid, a folder of PNG or an .npz",
    "distil": "make a student of a run, which samples in 1 to 4 calls",
    "train-autoencoder": "learn to make large pictures small, for gendi train --autoencoder",
    "train-classifier": "learn to name noisy pictures, to guide samples to a class",
    "inpaint": "paint part of a picture anew, where a mask is white",
    "upscale": "make a small picture as large as the model's",
    "denoise": "take the noise out of a picture",
    "vary": "draw variations of a picture, near or far",
    "interpolate": "walk from one picture to another",
    "mix": "the content of one picture with the detail of another",
    "impute": "fill the gaps of a table from the cells that are given",
    "evaluate": "measure samples, each figure beside what real images score",
    "likelihood": "bits per dimension of data under a run, term by term",
    "ema": "the weights averaged over another length, after training",
    "report": "write report.html: pictures, curves and the table of metrics",
    "explain": "one page with sliders that walks through a model, or a toy world",
    "info": "show what a run is: network, training, data, metrics",
    "verify": "check every checkpoint and bundle in a folder, byte by byte",
    "models": "list the models that come with gendi: gendi sample digits",
    "runs": "list the runs there are: status, progress, last metric",
    "plan": "memory, speed and days of training on N GPUs, by arithmetic",
    "data check": "look at a data set before spending hours on it",
    "cells check": "look at single cells: counts, classes, what is wrong and how to mend it",
    "presets": "list the configurations to start from",
    "samplers": "list the samplers, and when to use which",
    "doctor": "show versions, devices, precision, memory and disk",
    "demo": "the whole way on MNIST: train, sample, evaluate, report",
}
"""The commands, and what each does."""


def module_of(command: str) -> str:
    """Return the module of a command: that of `data check` is gendi.cli.data_check."""
    return f"gendi.cli.{command.replace(' ', '_').replace('-', '_')}"


def kind_of(command: str) -> Any:
    """Return the dataclass of a command, whose fields are its flags."""
    return getattr(
        importlib.import_module(module_of(command)),
        "".join(part.capitalize() for part in command.replace("-", " ").split()),
    )


def split(words: Sequence[str]) -> tuple[str, list[str]]:
    """Return the name of the command and the words after it; the name may be one that there is not."""
    pair = any(" " in name and name.split()[0] == words[0] for name in COMMANDS) if words else False
    name = " ".join(words[: 2 if pair else 1])
    return name, list(words[len(name.split()) :])


def unknown_command(name: str) -> UsageError:
    """Return the error for a command that there is not, with the one that is perhaps meant."""
    import difflib

    from gendi.cli.known_words import COMMANDS_ELSEWHERE

    flag = name.startswith("-")
    near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
    if not flag and (same := COMMANDS_ELSEWHERE.get(name)) is not None:
        near = [same]
    hint = f" Perhaps you meant {near[0]!r}." if near else ""
    known = f"Known: {', '.join(COMMANDS)}. See gendi --help."
    error = UsageError(f"There is no {'flag' if flag else 'command'} {name!r}.{hint} {known}")
    return error if flag else error.mended_by(*(Mend(command=other) for other in near))
