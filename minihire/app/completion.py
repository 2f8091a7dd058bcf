"""minihire completion: a script for bash, zsh or fish that completes commands, flags and choices."""

import argparse

from minihire.app.command import SHELL, Command
from minihire.app.flags import BY_NAME
from minihire.runtime.errors import MinihireError

SHELLS = ("bash", "zsh", "fish")


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
    flags = {name: _flags(sub) for name, sub in commands(parser).items()}
    return _fish(parser, flags) if shell == "fish" else _bash(flags, zsh=shell == "zsh")


def commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of all commands, by name."""
    (found,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(found.choices)


def _flags(parser):
    """List (flag, choices) of a command. `Config` has the choices of settings; other flags have them in their metavar."""
    found = []
    for action in parser._actions:
        shown = action.metavar if isinstance(action.metavar, str) else ""
        choices = shown.strip("{}").split(",") if shown.startswith("{") else []
        if action.dest in BY_NAME and BY_NAME[action.dest].metadata["choices"]:
            choices = list(BY_NAME[action.dest].metadata["choices"])
        found += [(flag, choices) for flag in action.option_strings if flag.startswith("--")]
    return found


def _bash(flags, zsh):
    cases = []
    for name, options in flags.items():
        values = "".join(f' {flag}) words="{" ".join(c)}" ;;' for flag, c in options if c)
        every = " ".join(flag for flag, _ in options)
        cases.append(
            f'    {name}) words="{every}"; case "$before" in{values or " *)"} esac ;;'.replace(
                "in *) esac", "in *) ;; esac"
            )
        )
    head = "autoload -Uz compinit && compinit && autoload -U +X bashcompinit && bashcompinit\n" if zsh else ""
    return (
        f"{head}_minihire() {{\n"
        '  local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" words=""\n'
        f'  if [ "$COMP_CWORD" = 1 ]; then words="{" ".join(flags)} --help --version"; else case "${{COMP_WORDS[1]}}" in\n'
        + "\n".join(cases)
        + '\n  esac; fi\n  COMPREPLY=($(compgen -W "$words" -- "$word"))\n}\ncomplete -o default -F _minihire minihire\n'
    )


def _fish(parser, flags):
    first = "not __fish_seen_subcommand_from " + " ".join(flags)
    lines = [f"complete -c minihire -n '{first}' -f -a '{' '.join(flags)}'"]
    for name, options in flags.items():
        for flag, choices in options:
            given = f" -x -a '{' '.join(choices)}'" if choices else ""
            lines.append(f"complete -c minihire -n '__fish_seen_subcommand_from {name}' -l {flag[2:]}{given}")
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
