"""The job script of the docs, run by bash with stand-ins for `srun` and `scontrol`: two nodes on this machine."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from gendi.storage.files import read_json
from gendi.train.kept.checkpoint import load_latest

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "docs" / "slurm" / "train.sbatch"
SRUN = """#!/bin/bash
# every node runs the command; once there is a checkpoint, the time is up
while [[ $1 == --* ]]; do shift; done
"$@" & first=$!
"$@" & second=$!
if [[ -n $PREEMPT ]]; then
    until compgen -G "$PREEMPT/checkpoints/step_*" > /dev/null || ! kill -0 $first; do sleep 0.1; done
    kill -USR1 $first $second
fi
wait $first; code=$?
wait $second || code=$?
exit $code
"""
SCONTROL = """#!/bin/bash
echo "$@" >> "$SCONTROL_LOG"
if [[ $1 == show ]]; then echo localhost; echo elsewhere; fi
"""

FLAGS = (
    "--network.channels 8 --network.groups 4 --network.time-dim 16 --batch-size 8 --train.preview-every 0 "
    "--train.checkpoint-every 0 --train.precision fp32 --train.layout contiguous"
)


def job(folder: Path, data: str, *flags: str, preempted: bool) -> tuple[int, list[str], str]:
    """Run the script; return its exit code, what scontrol was asked, and what was said."""
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    job_id = str(random.SystemRandom().randrange(10_000))  # the port comes from it
    env = {
        **os.environ,
        "PATH": f"{folder}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "SLURM_JOB_ID": job_id,
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_NNODES": "2",
        "SLURM_GPUS_ON_NODE": "1",
        "SCONTROL_LOG": str(folder / "scontrol.log"),
        "PREEMPT": str(folder / "run") if preempted else "",
    }
    command = ["bash", str(SCRIPT), data, str(folder / "run"), *flags]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=250)
    asked = (folder / "scontrol.log").read_text().replace(job_id, "JOB").splitlines()
    return done.returncode, asked, done.stdout


@pytest.mark.slow
def test_the_job_script_requeues_a_preempted_run_which_then_goes_on(tmp_path: Path, images: str) -> None:
    code, asked, said = job(tmp_path, images, *FLAGS.split(), "--steps", "100000", preempted=True)
    assert (code, asked) == (0, ["show hostnames node[1-2]", "requeue JOB"]), said
    assert read_json(tmp_path / "run" / "status.json")["status"] == "preempted"
    saved = load_latest(tmp_path / "run")
    assert saved is not None
    (tmp_path / "scontrol.log").unlink()
    code, asked, said = job(tmp_path, images, *FLAGS.split(), "--steps", str(saved.step + 3), preempted=False)
    assert (code, asked) == (0, ["show hostnames node[1-2]"]), said
    assert read_json(tmp_path / "run" / "status.json")["status"] == "finished"
    log = (tmp_path / "run" / "train.log").read_text()
    assert "2 processes" in log and f"from step {saved.step}," in log


def test_the_page_shows_the_script_as_it_is() -> None:
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert f"```sh\n{SCRIPT.read_text(encoding='utf-8')}```\n" in page
