"""The names and methods of the edits, and the settings that an edited picture keeps; this module needs no torch."""

import json
from collections.abc import Mapping
from typing import Any

EDIT_TEXT = "gendi-edit"
"""Key of an edit's settings, as JSON, in a PNG's text."""
EDITS = ("inpaint", "upscale", "denoise", "vary", "interpolate", "mix")
METHODS = {"mmps": 40, "pigdm": 40, "dps": 100, "repaint": 20}
"""Methods of solving an inverse problem, each with a number of steps that is enough."""
CONDITIONAL = "conditional"
"""The method of upscaling by a model that was trained with the small picture as a condition."""
OLD_NAMES = {"told": CONDITIONAL}
"""Names of methods that pictures of version 0.1.0 hold, and what they are called now."""
METHOD_OPTIONS = {
    "mmps": ("std", "iterations", "tolerance", "clip"),
    "pigdm": ("std", "spread", "iterations", "clip"),
    "dps": ("std", "zeta", "clip"),
    "repaint": ("std", "resamplings", "jump"),
    CONDITIONAL: (),
}
"""The options of each method, in addition to the options of drawing."""
STEPS = 50
"""Default number of network calls of an edit without a method, and of ODE steps in each direction."""
BATCH = 64


def edited_by(text: Mapping[str, Any]) -> str | None:
    """Return which edit wrote the PNG that holds `text`, or None if no edit did or its settings are damaged."""
    try:
        data = json.loads(text[EDIT_TEXT])
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    name = data.get("command") if isinstance(data, dict) else None
    return name if name in EDITS else None
