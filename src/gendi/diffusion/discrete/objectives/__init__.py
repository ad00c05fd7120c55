"""Objectives of tokens: how a batch of sequences becomes a loss. Importing this package does not import torch."""
