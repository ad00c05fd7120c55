"""Diffusion by Gaussian noise: x_t = alpha_t x_0 + sigma_t eps."""
