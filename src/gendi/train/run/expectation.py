"""The quality that a run will reach, predicted from measured runs of its preset."""

from dataclasses import replace
from itertools import pairwise
from math import exp, log

from gendi.train.config import RunConfig
from gendi.train.presets import PRESETS, Reached


def expected_of(config: RunConfig, data_name: str, images: float) -> str:
    """Return a sentence on the samples of a run of so many images; "" where nothing is known.

    It is known of a preset whose curve was measured, on the data of the curve, where the run changes nothing that
    quality depends on. Between two measured points the logarithm of the excess is a straight line over that of the
    number of images; beyond the last point it is said to be no worse, and below the first nothing is said.
    """
    preset = PRESETS.get(config.preset)
    if preset is None or not preset.curve or data_name != preset.curve_data or not _same_recipe(config, preset.config):
        return ""
    curve = sorted(preset.curve, key=lambda point: point.images)
    if images < curve[0].images:
        return ""
    if images >= curve[-1].images:
        return f"{_in_words(curve[-1])}, or better"
    low, high = next((a, b) for a, b in pairwise(curve) if a.images <= images < b.images)
    share = log(images / low.images) / log(high.images / low.images)
    between = Reached(
        round(images),
        exp((1 - share) * log(low.excess) + share * log(high.excess)),
        1 - exp((1 - share) * log(1 - low.confidence) + share * log(1 - high.confidence)),
    )
    return _in_words(between)


def _same_recipe(config: RunConfig, preset: RunConfig) -> bool:
    def recipe(of: RunConfig) -> tuple[object, ...]:
        optim = replace(of.optim, muon_precision=preset.optim.muon_precision)
        conditions = [(condition.name, condition.via, condition.dropout) for condition in of.conditions]
        return of.network, of.process, of.objective, optim, of.sample, conditions, of.train.batch_size

    return recipe(config) == recipe(preset)


def _in_words(reached: Reached) -> str:
    return (
        f"judging by measured runs, samples then have a digit FID about {reached.excess:.2f} above that of real "
        f"images and a confidence of {reached.confidence:.1%}"
    )
