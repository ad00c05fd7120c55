"""`gendi --completion SHELL`: a script that completes commands, their flags, and the names of presets, samplers and
shipped models.

The script holds all names, so that pressing Tab starts no Python. It is written here, because the commands are many
parsers that are imported one by one.
"""

from collections.abc import Iterable, Sequence

from gendi.cli.commands import kind_of
from gendi.cli.parse import positional, written_flags
from gendi.errors import UsageError, unknown_name
from gendi.train.kept.shipped import shipped_names

SHELLS = ("bash", "zsh", "fish")
HOW = {
    "bash": 'eval "$(gendi --completion bash)"    in ~/.bashrc',
    "zsh": 'eval "$(gendi --completion zsh)"    in ~/.zshrc, after compinit',
    "fish": "gendi --completion fish > ~/.config/fish/completions/gendi.fish",
}


def script(words: Sequence[str], commands: Sequence[str]) -> str:
    """Return the script for the shell that `words` name.

    Args:
        words: what follows --completion.
        commands: the names of the commands; those of two words are completed one after the other.

    Raises:
        UsageError: no shell, or one that is not known.
    """
    if len(words) != 1:
        lines = "\n".join(f"  {shell}: {line}" for shell, line in HOW.items())
        raise UsageError(f"Say for which shell: gendi --completion {'|'.join(SHELLS)}. Where it goes:\n{lines}")
    if words[0] not in SHELLS:
        raise unknown_name("shell", words[0], SHELLS)
    flags_of = {command: _flags(command) for command in commands}
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[words[0]](flags_of)


def _flags(command: str) -> list[str]:
    """Return the flags of a command: those of its dataclass that are no positional arguments, and --help."""
    return sorted({*written_flags(kind_of(command)), "--help"})


def _values() -> dict[str, list[str]]:
    """Return the names that flags take, as far as they are known without looking at data."""
    from gendi.diffusion.discrete.samplers import TOKEN_SAMPLERS
    from gendi.diffusion.gaussian.samplers.registry import SAMPLERS
    from gendi.train.presets import PRESETS

    return {"--preset": list(PRESETS), "--sampler": list(dict.fromkeys((*SAMPLERS, *TOKEN_SAMPLERS)))}


def _taking_runs(commands: Iterable[str]) -> list[str]:
    """Return those commands whose first argument is a run, in whose place a model that comes with gendi may stand."""
    return [command for command in commands if "run" in positional(kind_of(command)) and command != "ema"]


def _next_words(commands: Iterable[str]) -> dict[str, list[str]]:
    """Return which words can follow the first ones of the commands of several words."""
    out: dict[str, list[str]] = {}
    for command in commands:
        words = command.split()
        for i in range(1, len(words)):
            tails = out.setdefault(" ".join(words[:i]), [])
            tails += [words[i]] * (words[i] not in tails)
    return out


def _bash(flags_of: dict[str, list[str]], name: str = "_gendi") -> str:
    cases = "\n".join(f'    "{command}") flags="{" ".join(known)}" ;;' for command, known in flags_of.items())
    models = "\n".join(
        f'    "{command}") models="{" ".join(shipped_names())}" ;;' for command in _taking_runs(flags_of)
    )
    values = "\n".join(
        f'    {flag}) COMPREPLY=($(compgen -W "{" ".join(names)}" -- "$word")); return ;;'
        for flag, names in _values().items()
    )
    first = " ".join(dict.fromkeys(command.split()[0] for command in flags_of))
    seconds = "\n".join(
        f'    "{head}") COMPREPLY=($(compgen -W "{" ".join(tails)}" -- "$word")); return ;;'
        for head, tails in _next_words(flags_of).items()
    )
    return f"""\
# completion of gendi for bash: eval "$(gendi --completion bash)"
{name}() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" flags="" models="" command
  if [[ $COMP_CWORD -eq 1 ]]; then
    COMPREPLY=($(compgen -W "{first} --help --version --completion" -- "$word")); return
  fi
  case "$before" in
    --completion) COMPREPLY=($(compgen -W "{" ".join(SHELLS)}" -- "$word")); return ;;
{values}
  esac
  command="${{COMP_WORDS[1]}}"
  case "${{COMP_WORDS[*]:1:COMP_CWORD-1}}" in
{seconds}
  esac
  for both in "${{COMP_WORDS[*]:1:3}}" "${{COMP_WORDS[*]:1:2}}" "$command"; do
    case "$both" in
{cases}
    esac
    [[ -n $flags ]] && break
  done
  case "$command" in
{models}
  esac
  if [[ $word == -* ]]; then COMPREPLY=($(compgen -W "$flags" -- "$word"))
  else COMPREPLY=($(compgen -f -- "$word") $(compgen -W "$models" -- "$word")); fi
}}
complete -o filenames -F {name} gendi
"""


def _zsh(flags_of: dict[str, list[str]]) -> str:
    """Return bash's script behind zsh's own bridge to it."""
    head = '# completion of gendi for zsh, after compinit: eval "$(gendi --completion zsh)"\n'
    return f"{head}autoload -U +X bashcompinit && bashcompinit\n" + _bash(flags_of).partition("\n")[2]


def _fish(flags_of: dict[str, list[str]]) -> str:
    lines = ["# completion of gendi for fish: gendi --completion fish > ~/.config/fish/completions/gendi.fish"]
    first = " ".join(dict.fromkeys(command.split()[0] for command in flags_of))
    lines.append(f"complete -c gendi -n __fish_use_subcommand -f -a '{first}'")
    lines.append(f"complete -c gendi -n __fish_use_subcommand -l completion -x -a '{' '.join(SHELLS)}'")
    values = _values()
    for command, known in flags_of.items():
        *heads, tail = command.split()
        for head in heads:
            seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in heads[: heads.index(head) + 1])
            lines.append(f"complete -c gendi -n '{seen}' -f -a '{[*heads, tail][heads.index(head) + 1]}'")
        seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in (*heads, tail))
        if command in _taking_runs([command]):
            lines.append(f"complete -c gendi -n '{seen}' -a '{' '.join(shipped_names())}'")
        for flag in known:
            names = f" -x -a '{' '.join(values[flag])}'" if flag in values else ""
            lines.append(f"complete -c gendi -n '{seen}' -l '{flag.removeprefix('--')}'{names}")
    return "\n".join(lines) + "\n"
