"""The commands, and the parts of a command line. This module needs no more than Python itself."""

import importlib
from collections.abc import Sequence
from typing import Any

from gendi.errors import Mend, UsageError

COMMANDS = {
    "train": "train a model on a data set within a budget, or continue a run",
    "sample": "draw samples from a run: a grid, a folder of PNG or an .npz",
    "distil": "distil a run into a student that samples in 1 to 4 network calls",
    "train-autoencoder": "train an autoencoder of large pictures, for gendi train --autoencoder",
    "train-classifier": "train a classifier of noisy pictures, which guides samples to a class",
    "inpaint": "repaint the part of a picture where a mask is white",
    "upscale": "enlarge a small picture to the size of the model's pictures",
    "denoise": "remove the noise from a picture",
    "vary": "draw variations of a picture, close to it or far from it",
    "interpolate": "draw the pictures between one picture and another",
    "mix": "combine the content of one picture with the detail of another",
    "impute": "fill the gaps of a table from the cells that are given",
    "evaluate": "measure samples, and real images beside them for comparison",
    "privacy": "find out whether samples give away which rows a model was trained on",
    "likelihood": "measure the bits per dimension of data under a model, term by term",
    "ema": "average the weights over another length, after training",
    "report": "write report.html: pictures, curves and the table of metrics",
    "explain": "write one page with sliders that explains a model or a toy world",
    "info": "show what a run is: network, training, data, metrics",
    "verify": "check every checkpoint and bundle in a folder, byte by byte",
    "models": "list the models that come with gendi: gendi sample digits",
    "runs": "list the runs in a folder: status, progress, last metric",
    "plan": "estimate memory, speed and days of training on N GPUs",
    "data check": "look at a data set before spending hours on it",
    "cells check": "check single-cell data: counts, classes, what is wrong and how to mend it",
    "cells score": "score predictions of perturbed cells, by whatever model, against real cells",
    "cells perturb fit": "learn how drugs change cells by dose: a model, a page and a table of effects",
    "cells perturb predict": "draw cells under a dose of a drug, by a model of gendi cells perturb fit",
    "presets": "list the configurations to start from",
    "samplers": "list the samplers, and when to use which",
    "doctor": "show versions, devices, precision, memory and disk",
    "demo": "go through everything on MNIST: train, sample, evaluate, report",
}
"""The commands, and what each does."""
LONGEST = max(len(name.split()) for name in COMMANDS)
"""Words of the longest name."""


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
    for many in range(LONGEST, 0, -1):
        if (name := " ".join(words[:many])) in COMMANDS:
            return name, list(words[many:])
    name = " ".join(words[: 2 if words and commands_under(words[0]) else 1])
    return name, list(words[len(name.split()) :])


def commands_under(head: str) -> list[str]:
    """Return the commands whose names begin with a word, or words, and go on after it."""
    return [name for name in COMMANDS if name.startswith(f"{head} ")]


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
