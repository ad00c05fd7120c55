"""Treated cells: experiments, what drugs change, and how well that is predicted.

Models are fitted by `gendi.api.perturbation`.
"""
