"""Write the tables of docs/ that stand in the results of other benchmarks, without measuring anything.

python benchmarks/pages.py
"""

import json
from typing import Any

import conditioning
import editing
import guidance
import likelihood
import perturbation
import unet_or_dit
from record import RESULTS, write_table

import cells
import tables


def results(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def main() -> None:
    cells.page(["cells", "cells-scvi"])
    tables.page(results("tables")["runs"])
    write_table("likelihood.md", "measured", likelihood.table(results("likelihood")["rows"]))
    write_table("editing.md", "inpainting", editing.table(results("editing")["rows"]))
    write_table("networks.md", "conditioning", conditioning.table(results("conditioning")["rows"]))
    write_table("networks.md", "unet or dit", unet_or_dit.table(results("unet-or-dit")["rows"]))
    perturbation.page(results("perturbation")["worlds"])
    guided = results("guidance")
    write_table("guidance.md", "measured guidance", guidance.table(guided["rows"], guided["n"]))


if __name__ == "__main__":
    main()
