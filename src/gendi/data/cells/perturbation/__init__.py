"""Treated cells: experiments, what drugs change, and how well that is predicted; `gendi.api.perturbation` fits models."""
models."""
