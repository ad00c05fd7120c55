"""gendi: train, sample and measure denoising diffusion models.

    import gendi

    model = gendi.fit("mnist", out="runs/mine", seconds=480)  # a run folder with a bundle in it
    digits = gendi.sample(model, n=64, seed=0)               # uint8 array (64, 28, 28, 1)
    gendi.show(digits)                                       # a Pillow image, which a notebook shows
    print(gendi.measure(model).table())                      # every metric beside its floor
    print(gendi.bits_per_dim(model))                         # a bound on the code length of held-out images

Importing gendi is light: torch is loaded when something needs it.
"""

from typing import TYPE_CHECKING

from gendi.data.kinds import announce
from gendi.machine.lazy import lazy_names
from gendi.machine.version import __version__ as __version__

if TYPE_CHECKING:
    from gendi.api.autoencoder import fit_autoencoder as fit_autoencoder
    from gendi.api.distil import distil as distil
    from gendi.api.edits import denoise as denoise
    from gendi.api.edits import inpaint as inpaint
    from gendi.api.edits import interpolate as interpolate
    from gendi.api.edits import mix as mix
    from gendi.api.edits import upscale as upscale
    from gendi.api.edits import vary as vary
    from gendi.api.fit import fit as fit
    from gendi.api.fit import load as load
    from gendi.api.guidance import Guidance as Guidance
    from gendi.api.impute import impute as impute
    from gendi.api.likelihood import bits_per_dim as bits_per_dim
    from gendi.api.measure import measure as measure
    from gendi.api.privacy import privacy as privacy
    from gendi.api.sample import sample as sample
    from gendi.api.show import show as show
    from gendi.api.token_likelihood import bits_per_letter as bits_per_letter
    from gendi.train.kept.snapshots import reconstruct_ema as reconstruct_ema

_HOMES = {"bits_per_dim": "gendi.api.likelihood", "fit": "gendi.api.fit", "load": "gendi.api.fit"}
_HOMES |= {
    "bits_per_letter": "gendi.api.token_likelihood",
    "distil": "gendi.api.distil",
    "fit_autoencoder": "gendi.api.autoencoder",
    "Guidance": "gendi.api.guidance",
    "impute": "gendi.api.impute",
    "measure": "gendi.api.measure",
    "privacy": "gendi.api.privacy",
    "sample": "gendi.api.sample",
    "show": "gendi.api.show",
}
_HOMES |= dict.fromkeys(("denoise", "inpaint", "interpolate", "mix", "upscale", "vary"), "gendi.api.edits")
_HOMES["reconstruct_ema"] = "gendi.train.kept.snapshots"
__all__ = [
    "Guidance",
    "__version__",
    "bits_per_dim",
    "bits_per_letter",
    "denoise",
    "distil",
    "fit",
    "fit_autoencoder",
    "impute",
    "inpaint",
    "interpolate",
    "load",
    "measure",
    "mix",
    "privacy",
    "reconstruct_ema",
    "sample",
    "show",
    "upscale",
    "vary",
]
__getattr__, __dir__ = lazy_names(__name__, _HOMES)

announce("cells", "gendi.data.cells.kind:CELLS")
announce("table", "gendi.data.tables.kind:TABLES")
announce("sequence", "gendi.data.sequences.kind:SEQUENCES")
announce("toy", "gendi.data.toy.kind:TOYS")
announce("image", "gendi.data.images.kind:IMAGES", rest=True)
