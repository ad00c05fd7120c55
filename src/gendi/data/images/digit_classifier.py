"""gendi's own digit classifier, which the extractor `digits` and the metrics of confidence and class balance use.

The network has five 3x3 convolutions with batch normalisation, two of which halve the size, a mean over positions (the
96 features), and a linear layer. `benchmarks/train_digit_classifier.py` trains it in a minute or two on a CPU and
writes the weights that come with gendi.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from safetensors.torch import load
from torch import Tensor, nn

from gendi.data.images.tensors import Images, to_tensor
from gendi.errors import BundleError, UsageError
from gendi.machine.stopping import Poll, may_stop

WEIGHTS = Path(__file__).parent / "weights" / "digits.safetensors"
WEIGHTS_SHA256 = "651fa88e1c1ec9bc02f9ee49effc1e6b53d24915fa73d1b5c2abf6887c653158"


class DigitClassifier(nn.Module):
    """Logits of ten digits from `(n, 1, 28, 28)` images in [0, 1]."""

    widths = (24, 48, 48, 96, 96)
    pool_after = (0, 2)

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        previous = 1
        for i, width in enumerate(self.widths):
            layers += [nn.Conv2d(previous, width, 3, padding=1, bias=False)]
            layers += [nn.MaxPool2d(2)] if i in self.pool_after else []
            layers += [nn.BatchNorm2d(width), nn.ReLU()]
            previous = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(previous, 10)

    def features(self, x: Float[Tensor, "n 1 28 28"]) -> Float[Tensor, "n 96"]:
        """Return the penultimate layer: mean activations, never negative."""
        return torch.as_tensor(self.body(x)).mean(dim=(2, 3))

    def forward(self, x: Float[Tensor, "n 1 28 28"]) -> Float[Tensor, "n 10"]:
        """Return logits."""
        return torch.as_tensor(self.head(self.features(x)))


class DigitFeatures(nn.Module):
    """`DigitClassifier.features` as a module, for `ModuleExtractor`."""

    def __init__(self, classifier: DigitClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, x: Tensor) -> Float[Tensor, "n 96"]:
        """Return `(n, 96)` features. Raises `UsageError` unless x is `(n, 1, 28, 28)`."""
        if x.shape[1:] != (1, 28, 28):
            height, width, channels = x.shape[2], x.shape[3], x.shape[1]
            raise UsageError(
                f"The digit classifier sees grey images of 28x28; these are {height}x{width} with {channels} "
                "channel(s). Choose another extractor (`pixels`, `inception`) for such data."
            )
        return self.classifier.features(x)


def load_classifier(path: Path = WEIGHTS, sha256: str = WEIGHTS_SHA256) -> DigitClassifier:
    """Return the trained classifier in eval mode. Raises `BundleError` unless the file has the pinned SHA-256."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"The digit classifier's weights {path} cannot be read: {error}. Reinstall gendi.") from error
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise BundleError(f"{path} is damaged: its SHA-256 is {found}, expected {sha256}. Reinstall gendi.")
    classifier = DigitClassifier()
    classifier.load_state_dict(load(content))
    return classifier.eval()


def softmax_of(head: nn.Linear) -> Callable[[np.ndarray], Float32[np.ndarray, "n k"]]:
    """Return the function from features (n, d) to the softmax probabilities (n, K) of a linear classifier."""

    def probabilities(features: np.ndarray) -> Float32[np.ndarray, "n k"]:
        with torch.inference_mode():
            logits = head.cpu()(torch.from_numpy(features))
            return np.asarray(logits.softmax(dim=1).numpy())

    return probabilities


def class_probabilities(
    classifier: DigitClassifier, images: Images, *, batch_size: int = 500, poll: Poll | None = None
) -> Float32[np.ndarray, "n 10"]:
    """Return softmax probabilities of uint8 images `(n, 28, 28)` or `(n, 28, 28, 1)`."""
    out = []
    for start in range(0, len(images), batch_size):
        may_stop(poll)
        with torch.inference_mode():
            logits = classifier(to_tensor(images[start : start + batch_size]) / 255)
            out.append(logits.softmax(dim=1).numpy())
    return np.concatenate(out)
