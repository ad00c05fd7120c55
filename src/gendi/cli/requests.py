"""From a bundle and settings to samples: what `gendi sample`, `gendi evaluate` and `gendi demo` share."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import torch

import gendi.api.sample
from gendi.api.conditions import asked
from gendi.api.guidance import known_conditions
from gendi.api.samples_io import SampleSettings
from gendi.cli.console import say
from gendi.diffusion.conditions import ask
from gendi.diffusion.gaussian.samplers import GRIDS, SAMPLERS, get_sampler
from gendi.errors import ResourceError, UsageError, unknown_name
from gendi.storage.files import MANIFEST, read_json
from gendi.train.bundle import WEIGHTS, Bundle, bundle_folder
from gendi.train.classifier_bundle import classifier_folder
from gendi.train.signals import StopFlag

BATCH = 250
MOST_ADAPTIVE = 1000
"""Calls that a sampler which chooses its own steps may make."""


def pick_device() -> str:
    """Return the device that work goes to: cuda, mps or cpu."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def weights_sha256(run: str) -> str | None:
    """Return the SHA-256 of a bundle's weights, as its manifest has it."""
    return _of_weights(bundle_folder(Path(run)))


def guides_sha256(guidance: Mapping[str, Any]) -> dict[str, str]:
    """Return the same of the models in the fields of a `Guidance`, by field. Raises `UsageError` for a folder without
    one.
    """
    folders = {"bad": bundle_folder, "classifier": classifier_folder}
    found = {name: _of_weights(folder(Path(guidance[name]))) for name, folder in folders.items() if name in guidance}
    return {name: sha256 for name, sha256 in found.items() if sha256 is not None}


def _of_weights(folder: Path) -> str | None:
    manifest = read_json(folder / MANIFEST)
    entry = manifest["files"].get(WEIGHTS)
    return str(entry["sha256"]) if entry else None


def say_what_changed(
    source: str, places: Mapping[str, str], old: Mapping[str, str | None], new: Mapping[str, str | None]
) -> None:
    """Say of each of `places`, by name, that it is not what `source` was drawn with, where two SHA-256 differ."""
    for name, place in places.items():
        if old.get(name) not in (None, new.get(name)):
            say(f"note: the weights in {place} are not those that {source} was drawn with; the samples will differ.")


def check_settings(bundle: Bundle, settings: SampleSettings) -> None:
    """Raise what is wrong with `settings` for this model before the work starts.

    Raises:
        UsageError: an unknown sampler, grid, option or condition, a value that does not fit it, more steps than the
            chain has, eta for a sampler without it.
        ResourceError: so many samples do not fit in the memory; says how many do.
    """
    info = get_sampler(settings.sampler)
    if settings.eta is not None and "eta" not in info.options:
        able = [name for name, other in SAMPLERS.items() if "eta" in other.options]
        raise UsageError(f"--eta is an option of {', '.join(able)}; {settings.sampler} has none.")
    for option in settings.options:
        info.check_option(settings.sampler, option)
    if settings.grid is not None and settings.grid not in GRIDS:
        raise unknown_name("time grid", settings.grid, GRIDS)
    chain = bundle.config.process.steps
    if chain is not None and settings.steps > chain and not info.adaptive:
        raise UsageError(
            f"--steps {settings.steps} is out of range: this model's chain has {chain} steps; choose 1 to {chain}."
        )
    told, guidance = asked(bundle, settings)
    ask(known_conditions(bundle, guidance), told, settings.n, settings.first)
    each = 9 * math.prod(bundle.codec.shape)  # float32 twice while batches are joined, and the bytes
    available = psutil.virtual_memory().available
    if each * settings.n > available:
        raise ResourceError(
            f"{settings.n:,} samples need about {each * settings.n / 1e9:,.1f} GB of memory and {available / 1e9:.1f} "
            f"GB are free. Draw at most {available // each:,} at a time (--n), with another --seed each time."
        )


def default_steps(sampler: str, bundle: Bundle) -> int:
    """Return the calls to make with `sampler` when neither the user nor the model says: enough for it to be good."""
    own, info = bundle.config.sample, get_sampler(sampler)
    if info.adaptive:
        return own.steps if sampler == own.sampler else MOST_ADAPTIVE
    usual = 20 if info.grid == "karras" else 50 if info.quick else 1000
    wanted, chain = own.steps if sampler == own.sampler else usual, bundle.config.process.steps
    return wanted if chain is None else min(wanted, chain)


def announced(settings: SampleSettings, stop: StopFlag, aloud: bool = True) -> Callable[[], None]:
    """Return what to poll while drawing: it says, before the first step, what is drawn, and stops when asked to."""
    said: list[str] = []

    def poll() -> None:
        if aloud and not said:
            said.append(f"drawing {settings.n:,} samples: {settings.sampler}, {settings.steps} calls")
            say(f"{said[0]}, seed {settings.seed}")
        stop.raise_if_requested("Nothing was written.")

    return poll


def draw(
    bundle: Bundle,
    settings: SampleSettings,
    *,
    batch_size: int | None = None,
    poll: Callable[[], None] | None = None,
) -> Any:
    """Return the samples, bytes (n, H, W, C) or an AnnData or a DataFrame, that `settings` describe.

    A model of pictures that is told classes and asked for none draws each in turn. `poll` is called before every step
    and stops by raising. Raises what `check_settings` raises.
    """
    check_settings(bundle, settings)
    told, guidance = asked(bundle, settings)
    options: dict[str, Any] = {**settings.options, **({} if settings.eta is None else {"eta": settings.eta})}
    return gendi.api.sample.sample(
        bundle,
        settings.n,
        steps=settings.steps,
        sampler=settings.sampler,
        grid=settings.grid,
        seed=settings.seed,
        condition=told,
        guidance=guidance,
        first_index=settings.first,
        device=pick_device(),
        batch_size=batch_size or BATCH,
        poll=poll,
        **options,
    )
