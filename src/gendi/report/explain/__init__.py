"""One page that walks through the forward and the reverse process of a model, with its equations and sliders.

mathml    equations as MathML
scene     pictures one under another, and the slider that shows one of them
plot      SVG of points and arrows in the plane, and of curves over t
walk      the numbers of a walk, for both kinds
pictures  the walk for models of pictures
plane     the walk for toy worlds, with a model of one or with the exact denoiser
write     which walk it is, and the file
"""

from gendi.report.explain.write import explain_model, explain_world

__all__ = ["explain_model", "explain_world"]
