"""Training speed of preset `mnist` against diffusers' UNet2DModel of the same size, and the share of the matmul peak.

    python benchmarks/training_speed.py [--rounds 5]            and the same under the environment of AVX2

The two are timed in turn, A B A B ..., in one process on random data of MNIST's shape (diffusers gets 32x32, which its
network needs), at the preset's batch size. Of the networks of diffusers with three levels, two layers each, whose
widths are multiples of 8, the one is taken whose number of parameters is nearest to ours. A step is forward, backward
and optimiser (AdamW, fp32, as in diffusers' own examples). The ratio is taken round by round. The peak is the best
product of square matrices of 1024 to 4096 rows, measured between the rounds. Writes results/training-speed-KIND.json.
"""

import argparse
import itertools
import statistics
import time
from typing import Any

import torch
from record import kind, write

from gendi.data import open_data
from gendi.train.presets import get_preset
from gendi.train.step.trainer import Trainer
from gendi.train.weights.model import run_cost


def peak(dtype: torch.dtype) -> float:
    """Return the best GFLOP/s of a square matrix product."""
    best = 0.0
    for n in (1024, 2048, 4096):
        a, b = torch.randn(n, n, dtype=dtype), torch.randn(n, n, dtype=dtype)
        a @ b
        for _ in range(3):
            start = time.perf_counter()
            a @ b
            best = max(best, 2 * n**3 / (time.perf_counter() - start) / 1e9)
    return best


def size(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def of_size(parameters: int) -> tuple[int, ...]:
    """Return the widths of the UNet2DModel whose number of parameters is nearest to this one."""
    with torch.device("meta"):
        widths = [
            w for w in itertools.product(range(8, 65, 8), range(8, 129, 8), range(8, 129, 8)) if w[0] <= w[1] <= w[2]
        ]
        growing = [w for w in widths if w[1] <= 2 * w[0] and w[2] <= 2 * w[1]]  # theirs doubles, or grows less
        return min(growing, key=lambda w: abs(size(theirs_of(w)) - parameters))


def theirs_of(widths: tuple[int, ...]) -> Any:
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=32,
        in_channels=1,
        out_channels=1,
        block_out_channels=widths,
        down_block_types=("DownBlock2D",) * 3,
        up_block_types=("UpBlock2D",) * 3,
        layers_per_block=2,
        norm_num_groups=8,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--preset", default="mnist")
    rounds = parser.parse_args().rounds
    config = get_preset(parser.parse_args().preset).config
    trainer = Trainer(config, open_data("mnist"))
    batch = config.train.batch_size
    widths = of_size(size(trainer.network))
    other = theirs_of(widths)
    optimizer = torch.optim.AdamW(other.parameters(), lr=1e-3)

    def ours() -> float:
        start = time.perf_counter()
        trainer.step(0.5)
        return batch / (time.perf_counter() - start)

    def theirs() -> float:
        start = time.perf_counter()
        x, t = torch.randn(batch, 1, 32, 32), torch.randint(0, 1000, (batch,))
        (other(x, t).sample - torch.randn_like(x)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        return batch / (time.perf_counter() - start)

    flops = run_cost(trainer.config, trainer.data.fitted.shape).flops
    bf16 = trainer.choice.precision == "bf16"
    for _ in range(2):
        ours(), theirs()
    mine, yours, peaks = [], [], []
    for _ in range(rounds):
        mine.append(statistics.median(ours() for _ in range(6)))
        yours.append(theirs())
        peaks.append(peak(torch.bfloat16 if bf16 else torch.float32))
    rate = statistics.median(mine) * 3 * flops / 1e9
    write(
        f"training-speed-{kind().lower()}",
        {
            "preset": config.preset,
            "batch_size": batch,
            "choice": trainer.choice.reason,
            "parameters": size(trainer.network),
            "forward_mflop_per_image": flops / 1e6,
            "images_per_second": mine,
            "diffusers_images_per_second": yours,
            "diffusers_parameters": size(other),
            "diffusers_widths": widths,
            "ratio": [a / b for a, b in zip(mine, yours, strict=True)],
            "ratio_median": statistics.median(a / b for a, b in zip(mine, yours, strict=True)),
            "gflops": rate,
            "precision": trainer.choice.precision,
            "matmul_peak_gflops": peaks,
            "share_of_peak": rate / statistics.median(peaks),
        },
    )
    share = rate / statistics.median(peaks)
    print(f"{statistics.median(mine):.0f} against {statistics.median(yours):.0f} images/s; {share:.0%} of peak")


if __name__ == "__main__":
    main()
