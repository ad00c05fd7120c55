"""Single cells: counts in, counts out."""
