"""`gendi likelihood` of a model of sequences: bits per letter, by the bound."""

import time
from typing import TYPE_CHECKING, Any

from gendi.cli.console import say, show, show_json, table
from gendi.cli.values import format_duration
from gendi.errors import UsageError

if TYPE_CHECKING:
    from gendi.api.token_likelihood import SequenceBound
    from gendi.train.kept.bundle import Bundle

FOREIGN = ("variance", "dequantisation", "tolerance", "probes", "out")
QUARTERS = ("least noise", "second quarter", "third quarter", "most noise")


def likelihood_of_tokens(command: Any, bundle: "Bundle") -> int:
    """Measure the model's own held-out sequences, and other data beside them if there are any; print the result.

    `command` has the flags of `gendi.cli.likelihood.Likelihood`.

    Raises `UsageError` for flags that sequences do not have.
    """
    import torch

    from gendi.api.token_likelihood import bits_per_letter, fitting
    from gendi.cli.requests import pick_device
    from gendi.data import open_data
    from gendi.diffusion.gaussian.likelihood import auroc
    from gendi.train.progress.signals import StopFlag

    given = [f"--{name}" for name in FOREIGN if getattr(command, name) is not None]
    if command.method not in (None, "elbo"):
        given.append(f"--method {command.method}")
    if given:
        raise UsageError(f"{' and '.join(given)} is for pictures, and this is a model of sequences: leave it out.")
    own = bundle.meta.get("data_spec")
    if own is None and command.data is None:
        raise UsageError("The model does not say what it was trained on: give DATA.")
    sets = [fitting(bundle, open_data(spec)) for spec in dict.fromkeys((own, command.data)) if spec is not None]
    found: dict[str, SequenceBound] = {}
    start = time.perf_counter()
    with StopFlag() as stop:
        for data in sets:
            n = min(command.n or 1000, len(data.heldout))
            say(f"{data.spec}: {n:,} held-out sequences")
            found[data.spec] = bits_per_letter(
                bundle,
                data,
                n=n,
                steps=command.steps,
                draws=command.draws or 50,
                seed=command.seed or 0,
                device=pick_device(),
                batch_size=command.batch_size or 250,
                poll=lambda: stop.raise_if_requested("Nothing was written."),
            )
    say(f"measured in {format_duration(time.perf_counter() - start)}")
    each = [result.bound.values / torch.from_numpy(result.letters).clamp(min=1) for result in found.values()]
    apart = auroc(*each) if len(each) == 2 else None
    if command.json:
        sets_json = {name: _figures(result) for name, result in found.items()}
        show_json({"run": command.run, "method": "elbo", "sets": sets_json, "auroc": apart})
        return 0
    for name, result in found.items():
        show(_text(name, result))
    if apart is not None:
        first, second = found
        show(
            f"AUROC {apart:.4f}: the chance that a sequence of {second} needs more bits per letter than one of {first}"
        )
    return 0


def _figures(result: "SequenceBound") -> dict[str, Any]:
    return {
        "bits_per_letter": result.bits,
        "standard_error": result.bits_error,
        "nats_per_sequence": result.nats,
        "nats_per_sequence_error": result.nats_error,
        "letters": int(result.letters.sum()),
        "n": len(result.letters),
        "steps": result.bound.steps,
        "draws": result.bound.draws,
        "bits_per_letter_of_parts": list(result.parts),
    }


def _text(name: str, result: "SequenceBound") -> str:
    rows = [(what, f"{bits:.4f}") for what, bits in zip(QUARTERS, result.parts, strict=True)]
    steps = result.bound.steps
    chain = "the limit of many steps" if steps is None else f"a chain of {steps:,} steps"
    return (
        f"{name}: {result.bits:.4f} ± {result.bits_error:.4f} bits per letter, an upper bound, of "
        f"{len(result.letters):,} sequences ({result.nats:.3f} ± {result.nats_error:.3f} nats each, their ends "
        f"included)\n{table(rows, ('noise', 'bits per letter'))}\n  {chain}; {result.bound.draws} terms per sequence"
    )
