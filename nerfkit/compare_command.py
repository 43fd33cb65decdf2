"""``python -m nerfkit compare RUN RUN ...``: the numbers of runs side by side, and the options that differ."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from nerfkit.report.numbers import text
from nerfkit.report.page import write_page
from nerfkit.runs.folder import Run


def main(words: Sequence[str]) -> None:
    """Runs the command with the words that follow its name; prints tables, and with --output the page's path.

    Raises:
        CheckpointError: no run folder, or a damaged one.
        ConfigError: the place of the page is a folder, or lies in none.
    """
    parser = argparse.ArgumentParser(prog="python -m nerfkit compare", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="OUTPUT/SCENE/DATE_TIME, or OUTPUT/SCENE/latest")
    parser.add_argument("--output", metavar="PAGE.html", help="meshes, pictures and curves side by side, for a browser")
    asked = parser.parse_args(words)
    records = [Run.open(run) for run in asked.runs]
    print(text(records))
    if asked.output is not None:
        path = Path(asked.output).expanduser()
        write_page(records, path)
        print(path)
