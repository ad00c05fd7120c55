"""Sequences as a kind of data: letters of an alphabet, which a model of tokens learns."""
