"""Bundles under the name that the cards of older bundles import; they live in `gendi.train.kept.bundle`."""

from gendi.train.kept.bundle import Bundle as Bundle
from gendi.train.kept.bundle import load_bundle as load_bundle
from gendi.train.kept.bundle import save_bundle as save_bundle

__all__ = ["Bundle", "load_bundle", "save_bundle"]
