"""What is known of edits without torch: their names, their methods and what a picture that one made remembers."""

import json
from collections.abc import Mapping
from typing import Any

EDIT_TEXT = "gendi-edit"
"""Key of an edit's settings, as JSON, in a PNG's text."""
EDITS = ("inpaint", "upscale", "denoise", "vary", "interpolate", "mix")
METHODS = {"mmps": 40, "pigdm": 40, "dps": 100, "repaint": 20}
"""How to solve an inverse problem, with the steps that are enough."""
TOLD = "told"
"""The method of upscaling by a model that was trained to be told the small picture."""
METHOD_OPTIONS = {
    "mmps": ("std", "iterations", "tolerance", "clip"),
    "pigdm": ("std", "spread", "iterations", "clip"),
    "dps": ("std", "zeta", "clip"),
    "repaint": ("std", "resamplings", "jump"),
    TOLD: (),
}
"""The options of each method, beside those of drawing."""
STEPS = 50
"""Network calls of an edit without a method, or steps of the ODE each way, if nothing else is said."""
BATCH = 64


def edited_by(text: Mapping[str, Any]) -> str | None:
    """Return which edit wrote the PNG that holds `text`, None if none did or its settings are damaged."""
    try:
        data = json.loads(text[EDIT_TEXT])
    except (KeyError, TypeError, ValueError, RecursionError):
        return None
    name = data.get("command") if isinstance(data, dict) else None
    return name if name in EDITS else None
