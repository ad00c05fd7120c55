"""Treated cells: experiments, the effects of drugs, and scores of predicted cells.

Models are fitted by `gendi.api.perturbation`.
"""
