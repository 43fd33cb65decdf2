"""``python -m nerfkit prepare PHOTOS_OR_VIDEO OUT KEY=VALUE ...``: photos without poses to a data set with them."""

from collections.abc import Sequence

from nerfkit.errors import ConfigError, command
from nerfkit.prepare import PrepareOptions, prepare
from nerfkit.prepare.report import MARKDOWN
from nerfkit.words import parse, table, wants_help

USAGE = """usage: python -m nerfkit prepare PHOTOS_OR_VIDEO OUT KEY=VALUE ...

Finds where the photos of a folder, or of a video, were taken from: OUT has the photos, a COLMAP model and a report
(report.md, report.json, coverage.png) that says what to take again. Needs pycolmap: pip install 'nerfkit[photos]'.
"""


def main(words: Sequence[str]) -> None:
    """Runs the command with the words that follow its name.

    Raises:
        ConfigError: a word, key or value that cannot be used, or pycolmap is not installed.
        SceneError: the photos, the video or the folder cannot be used.
    """
    if wants_help(words):
        print(USAGE)
        print(table(PrepareOptions))
        return
    paths, options = parse(PrepareOptions, words)
    if len(paths) != 2:
        got = " ".join(paths) or "neither"
        raise ConfigError(f"prepare: got {got}; expected photos and a folder, as in prepare photos/ scene/")
    prepared = prepare(paths[0], paths[1], options)
    print(f"{prepared.placed} of {prepared.total} photos placed; {prepared.folder / MARKDOWN} says more")
    print(f"{command('train')} scene.root={prepared.folder}")
