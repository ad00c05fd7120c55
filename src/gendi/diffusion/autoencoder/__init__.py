"""Autoencoders of pictures, in whose latents a diffusion model can work.  [Rombach et al. 2022]

    picture x (C, H, W)  <-encoder, decoder->  latents z (c, H / f, W / f)

`config` holds the options, `network` the network, and `losses` what it learns by. `gendi.train.run.autoencoder` says
how it is trained, and `gendi.data.images.latents` how it is used.
"""
