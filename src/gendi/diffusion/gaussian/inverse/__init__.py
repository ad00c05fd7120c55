"""Editing pictures and solving linear inverse problems with a trained denoiser."""
