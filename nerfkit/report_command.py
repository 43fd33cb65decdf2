"""``python -m nerfkit report RUN ...``: ``report.html`` of a run, or of several side by side."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from nerfkit.errors import ConfigError
from nerfkit.report.page import NAME, page, text, write_report
from nerfkit.runs.files import write_text
from nerfkit.runs.folder import Run


def main(words: Sequence[str]) -> None:
    """Runs the command with the words that follow its name; prints the page's path, or with --text tables.

    Raises:
        CheckpointError: no run folder, or a damaged one.
        ConfigError: the place of the page is a folder, or lies in none.
    """
    parser = argparse.ArgumentParser(prog="python -m nerfkit report", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="OUTPUT/SCENE/DATE_TIME, or OUTPUT/SCENE/latest")
    parser.add_argument("--output", help=f"the page; default: RUN/{NAME}, for several runs ./{NAME}")
    parser.add_argument("--text", action="store_true", help="print numbers and differing options; write no page")
    asked = parser.parse_args(words)
    records = [Run.open(run) for run in asked.runs]
    if asked.text:
        print(text(records))
        return
    if asked.output is None and len(records) == 1:
        print(write_report(records[0]))
        return
    path = Path(asked.output or NAME).expanduser()
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigError(f"--output {path}: expected a file in a folder that is there")
    write_text(path, page(records))
    print(path)
