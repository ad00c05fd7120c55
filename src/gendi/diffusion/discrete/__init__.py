"""Diffusion of tokens: noise replaces tokens by a mask or by random ones, and a denoiser says what they were.

`process` is q, `denoiser` the contract of what samplers, bounds and guidance see, `exact` the worlds in which all of it
is a formula. Importing this package imports no torch.
"""
