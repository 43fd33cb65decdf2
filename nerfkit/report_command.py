"""``python -m nerfkit report RUN ...``: ``report.html`` of a run, or of several side by side."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from nerfkit.report.page import NAME, write_page, write_report
from nerfkit.runs.folder import Run


def main(words: Sequence[str]) -> None:
    """Runs the command with the words that follow its name; prints the page's path.

    Raises:
        CheckpointError: no run folder, or a damaged one.
        ConfigError: the place of the page is a folder, or lies in none.
    """
    parser = argparse.ArgumentParser(prog="python -m nerfkit report", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="OUTPUT/SCENE/DATE_TIME, or OUTPUT/SCENE/latest")
    parser.add_argument("--output", help=f"the page; default: RUN/{NAME}, for several runs ./{NAME}")
    asked = parser.parse_args(words)
    records = [Run.open(run) for run in asked.runs]
    if asked.output is None and len(records) == 1:
        print(write_report(records[0]))
        return
    path = Path(asked.output or NAME).expanduser()
    write_page(records, path)
    print(path)
