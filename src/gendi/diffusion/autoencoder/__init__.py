"""Autoencoders of pictures, in whose latents a diffusion model can work.  [Rombach et al. 2022]

    picture x (C, H, W)  <-encoder, decoder->  latents z (c, H / f, W / f)

`config` holds the options, `network` the network, and `losses` what it learns by. How it is trained,
`gendi.train.run.autoencoder` says; what becomes of it, `gendi.data.images.latents`.
"""
