"""Which mapper's models are kept."""

from pathlib import Path

import pytest

from nerfkit.prepare import mapping
from nerfkit.prepare.options import PrepareOptions


class Model:
    """As much of pycolmap's Reconstruction as a choice looks at."""

    def __init__(self, placed: int) -> None:
        self.placed = placed

    def num_reg_images(self) -> int:
        return self.placed


@pytest.mark.parametrize(
    ("incremental", "in_all", "kept", "tried"),
    [
        ([8, 3], 9, [8, 3], False),
        ([5], 9, [5], False),  # half of ten
        ([4, 3], 9, [9], True),
        ([4, 3], 4, [4, 3], True),  # no better: the first is kept
        ([4], 0, [4], True),  # it gave up
        ([], 6, [6], True),
        ([], 0, [], True),
    ],
)
def test_global_mapping_is_the_second_try(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, incremental: list, in_all: int, kept: list, tried: bool
) -> None:
    """Of 10 photos, where incremental mapping places fewer than half."""
    calls = []

    def other(*arguments: object) -> list[Model]:
        calls.append(arguments)
        return [Model(in_all)] if in_all else []

    monkeypatch.setattr(mapping, "_incremental", lambda *_: [Model(placed) for placed in incremental])
    monkeypatch.setattr(mapping, "_global", other)
    found = mapping.map_photos(tmp_path / "database.db", tmp_path, tmp_path, 10, PrepareOptions())
    assert [model.placed for model in found] == kept
    assert bool(calls) == tried
    for *_, (least, most) in calls:
        assert 0 <= least <= most
