"""Genes of several files, matched by name: which ones all files have, and what is to be said about the others."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gendi.errors import DataError

SHOWN = 3
ENSEMBL = re.compile(r"ENS[A-Z]*G\d{6,}(\.\d+)?")


@dataclass(frozen=True)
class Common:
    """The genes that several files have in common."""

    names: tuple[str, ...]
    """In the order of the first file."""
    missing: Mapping[str, tuple[str, ...]]
    """The genes that a file lacks and another one has, by the name of the file."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What to say about the genes: how many there are, and which files lack how many of the others'."""
        return self.lacking or (f"all files have the same {len(self.names):,} genes, matched by name",)

    @property
    def lacking(self) -> tuple[str, ...]:
        """What to say about genes that some file lacks; nothing if there are none."""
        lacking = {name: genes for name, genes in self.missing.items() if genes}
        if not lacking:
            return ()
        said = "; ".join(f"{name} lacks {len(genes):,} ({_some(genes)})" for name, genes in lacking.items())
        return (f"{len(self.names):,} genes are in all files, and only these are kept: {said}",)


def common_genes(files: Mapping[str, tuple[Sequence[str], Any]]) -> Common:
    """Return the genes that all files have; each file is the names of its genes and its table `var`.

    Raises `DataError`, which says what the names look like, if there are none.
    """
    sets = {name: set(genes) for name, (genes, _) in files.items()}
    every = dict.fromkeys(gene for genes, _ in files.values() for gene in genes)
    first, *_ = files.values()
    names = tuple(gene for gene in first[0] if all(gene in own for own in sets.values()))
    if not names:
        raise DataError(_nothing_in_common(files))
    return Common(names, {name: tuple(gene for gene in every if gene not in own) for name, own in sets.items()})


def form_of(genes: Sequence[str]) -> str:
    """Return what the names of genes look like, with the first one as an example."""
    some = list(genes[:200])
    matches = [ENSEMBL.fullmatch(gene) for gene in some]
    ensembl = sum(match is not None for match in matches)
    example = f"({some[0]!r}, ...)"
    if 2 * ensembl > len(some):
        versions = any(match is not None and match[1] for match in matches)
        return f"Ensembl ids{' with versions' if versions else ''} {example}"
    letters = [gene for gene in some if gene.upper() != gene.lower()]
    if letters and 2 * sum(gene == gene.upper() for gene in letters) > len(letters):
        return f"symbols in capitals {example}"
    return f"symbols {example}"


def _nothing_in_common(files: Mapping[str, tuple[Sequence[str], Any]]) -> str:
    forms = "; ".join(f"those of {name} look like {form_of(genes)}" for name, (genes, _) in files.items())
    return f"The files have no gene in common, by their names: {forms}. {_mend(files)}"


def _mend(files: Mapping[str, tuple[Sequence[str], Any]]) -> str:
    (first, (own, _)), *others = files.items()
    wanted = set(own)
    for name, (genes, var) in others:
        for key in var.columns:
            if len(wanted.intersection(map(str, var[key]))) > len(wanted) / 10:
                return (
                    f"var[{str(key)!r}] of {name} has the names of {first}: adata.var_names = adata.var[{str(key)!r}]."
                )
        plain = {gene.partition(".")[0] for gene in own}
        if len(plain.intersection(gene.partition(".")[0] for gene in genes)) > len(plain) / 10:
            return 'Without their versions they agree: adata.var_names = adata.var_names.str.partition(".")[0].'
        if len({gene.upper() for gene in own}.intersection(gene.upper() for gene in genes)) > len(own) / 10:
            return (
                "In capitals they agree: genes of different species? Give cells of one, or adata.var_names.str.upper()."
            )
    return "Give the genes of all files names of one kind, in adata.var_names."


def _some(genes: Sequence[str]) -> str:
    return ", ".join(genes[:SHOWN]) + (", ..." if len(genes) > SHOWN else "")
