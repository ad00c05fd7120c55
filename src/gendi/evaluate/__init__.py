"""How good are the samples: distances on features, class balance, memorisation, each beside its real-against-real floor."""
