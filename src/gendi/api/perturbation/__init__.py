"""Predictions of cells under combinations of type, drug and dose that no experiment has observed.

from gendi.cells import perturbation

model = perturbation.fit(adata, cell_type="cell_type", drug="drug", dose="dose", control="control")
perturbation.predict(model, cell_type="CD14+ Monocyte", drug="drug1", dose=3.0)
"""

from gendi.api.perturbation.model import Perturbation, fit, predict
from gendi.api.perturbation.stored import load, save
from gendi.api.perturbation.table import effects

__all__ = ["Perturbation", "effects", "fit", "load", "predict", "save"]
