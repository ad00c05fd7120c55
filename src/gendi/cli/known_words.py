"""The flags of other programs that people know, and what they are called here.

A flag that means the same is understood: its word is replaced before the flags are read. A flag that has no counterpart
is answered with what to write instead.
"""

from collections.abc import Collection, Sequence

SAME: dict[str, tuple[str, ...]] = {
    "--resolution": ("--size",),
    "--image-size": ("--size",),
    "--output-dir": ("--out",),
    "--output": ("--out",),
    "--outdir": ("--out",),
    "--cfg": ("--guidance",),
    "--cfg-scale": ("--guidance",),
    "--guidance-scale": ("--guidance",),
    "--count": ("--n",),
    "--num-samples": ("--n",),
    "--num-images": ("--n",),
    "--num-inference-steps": ("--steps",),
    "--max-train-steps": ("--steps",),
    "--num-steps": ("--steps",),
    "--train-batch-size": ("--batch-size",),
    "--lr": ("--optim.lr",),
    "--learning-rate": ("--optim.lr",),
}
"""Flags by the names that others give them; the first that a command has is meant. A guidance scale of 1 is no guidance
here as there."""

_EPOCHS = (
    "a run's budget is counted in images, steps or time, as an epoch is another amount for each data set: 10 epochs of "
    "6,000 images are --images 60k; or give --steps or --max-time 30m."
)
OTHERWISE: dict[str, str] = {
    "--epochs": _EPOCHS,
    "--num-epochs": _EPOCHS,
    "--num-train-epochs": _EPOCHS,
    "--max-epochs": _EPOCHS,
    "--checkpoints-total-limit": "the newest --keep 3 checkpoints are kept.",
    "--resume-from-checkpoint": "the same command again goes on where it stopped; --fresh starts over.",
    "--resume": "the same command again goes on where it stopped; --fresh starts over.",
}


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


def answer(flag: str, known: Collection[str]) -> str | None:
    """Return what to write in the place of a flag of `OTHERWISE`; None for others, and for commands without budgets."""
    needed = "--max-time" if OTHERWISE.get(flag) == _EPOCHS else "--fresh"
    return OTHERWISE[flag] if flag in OTHERWISE and needed in known else None
