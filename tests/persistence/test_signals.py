"""Signals sent to this very process, and Ctrl-C twice to a real one."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from gendi.errors import InterruptedRunError, PreemptedError
from gendi.train.progress.signals import StopFlag


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_sigterm_and_sigusr1_mean_preempted(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopFlag() as stop:
        assert not stop.requested
        stop.raise_if_requested()
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # a scheduler may repeat itself
        assert stop.requested
        assert stop.requested
        assert stop.reason == "preempted"
        with pytest.raises(PreemptedError, match="Saved at step 7") as caught:
            stop.raise_if_requested("Saved at step 7.")
        assert caught.value.exit_code == 75
    assert signal.getsignal(number) is before


def test_ctrl_c_once_asks_and_twice_stops_at_once() -> None:
    before = signal.getsignal(signal.SIGINT)
    with StopFlag() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.reason == "interrupted"
        with pytest.raises(InterruptedRunError) as caught:
            stop.raise_if_requested()
        assert caught.value.exit_code == 130
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_first_reason_stays_and_a_first_ctrl_c_after_sigterm_is_not_a_second() -> None:
    with StopFlag() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.reason == "preempted"


def test_handlers_are_restored_when_the_block_fails() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), StopFlag():
        _ = 1 / 0
    assert signal.getsignal(signal.SIGTERM) is before


def test_harmless_outside_the_main_thread() -> None:
    seen: list[bool] = []

    def work() -> None:
        with StopFlag() as stop:
            seen.append(stop.requested)
            stop.request("preempted")
            seen.append(stop.requested)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False, True]


STUBBORN = """
from gendi.train.progress.signals import StopFlag
with StopFlag() as stop:
    print("ready", flush=True)
    while not stop.requested:
        pass
    print("finishing the step", flush=True)
    while True:
        pass
"""


def test_second_ctrl_c_ends_a_real_process_that_does_not_finish_its_step() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "finishing the step\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate()
    assert "KeyboardInterrupt" in stderr
    assert process.returncode == -signal.SIGINT
