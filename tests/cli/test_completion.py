"""The scripts for shells complete commands, flags and names; bash runs its own."""

import shutil
import subprocess

import pytest

from gendi.cli import COMMANDS, main


def completed(script: str, *words: str) -> set[str]:
    """Return what bash offers after the words, the last of which is being written."""
    line = " ".join(f"'{word}'" for word in words)
    run = f'{script}\nCOMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _gendi; printf "%s\\n" "${{COMPREPLY[@]}}"'
    bash = subprocess.run(["bash", "-c", run], capture_output=True, text=True, check=True, timeout=60)
    assert bash.stderr == ""
    return set(bash.stdout.split())


@pytest.fixture
def bash(capsys: pytest.CaptureFixture[str]) -> str:
    if shutil.which("bash") is None:
        pytest.skip("there is no bash here")
    assert main(["--completion", "bash"]) == 0
    return capsys.readouterr().out


def test_bash_completes_commands_flags_and_names(bash: str) -> None:
    assert completed(bash, "gendi", "sam") == {"sample", "samplers"}
    assert completed(bash, "gendi", "data", "") == {"check"}
    assert {"--guidance", "--class", "--seed", "--steps"} <= completed(bash, "gendi", "sample", "run", "--")
    assert completed(bash, "gendi", "train", "x", "--optim.l") >= {"--optim.lr"}
    assert "--run" not in completed(bash, "gendi", "sample", "--")  # a positional argument
    assert completed(bash, "gendi", "train", "mnist", "--preset", "ico") >= {"icons"}
    assert completed(bash, "gendi", "data", "check", "--max") == {"--max-bad"}
    assert completed(bash, "gendi", "--completion", "f") == {"fish"}


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_have_every_command_and_read_their_script(
    shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(word in script for name in COMMANDS for word in name.split())
    assert "guidance-interval" in script and "icons" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True, timeout=60)


def test_a_shell_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--completion"]) == 2
    assert "bashrc" in capsys.readouterr().err
    assert main(["--completion", "bsh"]) == 2
    assert "bash" in capsys.readouterr().err
