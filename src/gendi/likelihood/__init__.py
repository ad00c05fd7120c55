"""How likely data are under a denoiser: a variational bound term by term, and the probability-flow density."""
