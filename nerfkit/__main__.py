"""``python -m nerfkit COMMAND``, and the console script ``nerfkit``."""

import sys
from collections.abc import Callable
from functools import partial

from nerfkit import start
from nerfkit.errors import did_you_mean, reader_may_leave

USAGE = """usage: python -m nerfkit COMMAND

  train KEY=VALUE ...     photos with known cameras -> field, mesh, refined mesh, video (as train.py)
  render KEY=VALUE ...    videos of a trained run (as render.py)
  prepare PHOTOS FOLDER   photos or a video without cameras -> a data set with them, and what to take again
  synthesize MESH FOLDER  photos of a mesh as a data set that train reads
  eval RUN [--protocol X] PSNR, SSIM, LPIPS, depth, normals and surfaces of a run, at any size, over any background
  verify RUN [--all]      a run made again: whether the same bits come out
  report RUN ...          a page to open in a browser: mesh, pictures, curves, numbers; of several runs side by side
  compare RUN RUN ...     the numbers of runs and the options that differ; --output PAGE.html adds the pictures
  runs [FOLDER] [--json]  the runs below a folder: how far each has come, and how good it is
  view RUN                a run in a browser: its field and mesh from wherever one looks, crop, camera path
  options [GROUP ...]     every key, as docs/options.md; or those of groups, as train.py --help GROUP
  completion bash         a script for bash, zsh or fish, which completes keys and values at Tab: docs/configs.md
  --version               of nerfkit
  doctor [--compile]      what this machine has, and which backend will run; compile the CPU kernels of a run now
"""

COMMANDS = ("prepare", "synthesize", "eval", "verify", "report", "compare", "runs", "view")  # of modules NAME_command


def main() -> None:
    """Runs the command that the first word names; exit code 2 for an unknown one."""
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return
    if words[0] == "--version":
        from nerfkit import __version__

        print(f"nerfkit {__version__}")
        return
    commands: dict[str, Callable[[], object]] = {
        "train": start.train,
        "render": start.render,
        **{name: partial(_command, f"nerfkit.{name}_command") for name in COMMANDS},
        "options": _options,
        "doctor": _doctor,
        "completion": lambda: _completion(list(commands)),
    }
    if words[0] not in commands:
        print(f"error: {words[0]}: unknown command{did_you_mean(words[0], commands)}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"nerfkit {words[0]}", *words[1:]]
    with reader_may_leave():
        commands[words[0]]()


# Each command imports only what it needs.
def _command(module: str) -> None:
    with start.started("nerfkit.cli", "exit_codes")():
        if code := start.imported(module, "main")(sys.argv[1:]):
            sys.exit(code)


def _options() -> None:
    with start.started("nerfkit.cli", "exit_codes")():
        from nerfkit.describe import help_text, tables

        if words := sys.argv[1:]:
            print(help_text("train", words))
        else:
            print(tables(), end="")


def _completion(names: list[str]) -> None:
    with start.started("nerfkit.cli", "exit_codes")():
        start.imported("nerfkit.completion", "main")(sys.argv[1:], names)


def _doctor() -> None:
    from nerfkit.doctor import main as doctor

    doctor(sys.argv[1:])


if __name__ == "__main__":
    main()
