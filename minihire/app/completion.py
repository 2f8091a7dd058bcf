"""minihire completion: a script for bash, zsh or fish that completes commands, flags and choices."""

import argparse

from backends import BACKENDS
from minihire.app.command import SHELL, Command
from minihire.app.flags import BY_NAME
from minihire.app.paper import EXPERIMENTS, GROUPS
from minihire.attacks import ATTACKS
from minihire.models import MODELS
from minihire.runtime.errors import MinihireError
from minihire.study.paper.scales import SCALES
from minihire.study.settings import METHODS, PRESETS
from minihire.study.surrogates import SURROGATES

SHELLS = ("bash", "zsh", "fish")
NAMES = {  # by argument: names that the commands check themselves, because their messages suggest similar ones
    "shell": SHELLS,
    "method": ("ann", *METHODS),
    "names": (*EXPERIMENTS, *GROUPS),
    "lesson": range(1, 11),
    "model_name": MODELS,
    "preset": PRESETS,
    "scale": SCALES,
    "attacks": ATTACKS,
    "surrogate": SURROGATES,
    "craft_surrogate": SURROGATES,
    "backend": BACKENDS,
    "device": ("cpu", "cuda"),
    "precision": ("float32", "tf32", "bf16"),
}


def add_flags(parser):
    """Add the argument of this command to the parser."""
    parser.add_argument("shell", metavar="SHELL", help=", ".join(SHELLS))


def run(options) -> None:
    """Print the script."""
    print(script(options.program, options.shell), end="")


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The completion script for a shell. It completes file names if no command, flag or choice fits.

    Raises MinihireError for an unknown shell.
    """
    if shell not in SHELLS:
        raise MinihireError(f"there is no completion for {shell!r}: choose {', '.join(SHELLS)}")
    arguments = {name: _arguments(sub) for name, sub in commands(parser).items()}
    return _fish(arguments) if shell == "fish" else _bash(arguments, zsh=shell == "zsh")


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of all commands, by name."""
    (found,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(found.choices)


def _arguments(parser):
    """The choices of a command's positional arguments, and {flag: its choices}: None for a switch, [] for any other value."""
    words, flags = [], {}
    for action in parser._actions:
        choices = None if action.nargs == 0 else [*map(str, _choices(action))]
        long = [flag for flag in action.option_strings if flag.startswith("--")]
        flags |= dict.fromkeys(long, choices)
        words += [] if action.option_strings else choices
    return words, flags


def _choices(action):
    setting = BY_NAME.get(action.dest)
    return action.choices or (setting and setting.metadata["choices"]) or NAMES.get(action.dest, ())


def _bash(arguments, zsh):
    cases = []
    for name, (words, flags) in arguments.items():
        values = [f'{flag}) words="{" ".join(choices)}" ;;' for flag, choices in flags.items() if choices]
        free = "|".join(flag for flag, choices in flags.items() if choices == [])
        values += [f'{free}) words="" ;;'] if free else []  # bash then completes names of files
        cases.append(
            f'    {name}) words="{" ".join([*words, *flags])}"; case "$before" in {" ".join(values) or "*) ;;"} esac ;;'
        )
    head = "autoload -Uz compinit && compinit && autoload -U +X bashcompinit && bashcompinit\n" if zsh else ""
    return (
        f"{head}_minihire() {{\n"
        '  local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" words=""\n'
        f'  if [ "$COMP_CWORD" = 1 ]; then words="{" ".join(arguments)} --help --version"; else case "${{COMP_WORDS[1]}}" in\n'
        + "\n".join(cases)
        + '\n  esac; fi\n  COMPREPLY=($(compgen -W "$words" -- "$word"))\n}\ncomplete -o default -F _minihire minihire\n'
    )


def _fish(arguments):
    commands = " ".join(arguments)
    lines = [f"complete -c minihire -n 'not __fish_seen_subcommand_from {commands}' -f -a '{commands}'"]
    for name, (words, flags) in arguments.items():
        line = f"complete -c minihire -n '__fish_seen_subcommand_from {name}'"
        lines += [f"{line} -a '{' '.join(words)}'"] if words else []
        for flag, choices in flags.items():
            value = "" if choices is None else f" -x -a '{' '.join(choices)}'" if choices else " -r"
            lines.append(f"{line} -l {flag[2:]}{value}")
    return "\n".join(lines) + "\n"


COMMAND = Command(
    "completion",
    SHELL,
    "a shell's completion of commands and flags",
    "SHELL",
    add_flags,
    run,
    """minihire completion bash >> ~/.bashrc
  minihire completion zsh >> ~/.zshrc
  minihire completion fish >> ~/.config/fish/config.fish""",
)
