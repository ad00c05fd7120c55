"""Scores of anybody's predictions of cells under perturbations, beside simple references and what real cells get."""

from gendi.data.cells.scoring.of_files import score as score
from gendi.data.cells.scoring.result import Scores as Scores
