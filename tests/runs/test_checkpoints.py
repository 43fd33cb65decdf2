import errno
from pathlib import Path

import pytest
import torch

from nerfkit.errors import CheckpointError
from nerfkit.runs import checkpoints


def state(value: float) -> dict:
    return {"weights": torch.full((3,), value), "seconds": 1.5, "history": [1, 2], "name": "harmonic"}


def test_the_state_comes_back(tmp_path: Path) -> None:
    path = checkpoints.save(tmp_path, 120, state(2.0))
    assert path == tmp_path / "checkpoints" / "step_00000120.pt"
    step, loaded = checkpoints.load_latest(tmp_path)
    assert step == 120
    assert torch.equal(loaded["weights"], torch.full((3,), 2.0))
    assert (loaded["seconds"], loaded["history"], loaded["name"]) == (1.5, [1, 2], "harmonic")


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in (0, 9, 100, 99999):
        checkpoints.save(tmp_path, step, state(step))
    assert checkpoints.steps(tmp_path) == [99999, 100]
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2


def test_going_back_to_an_older_step_keeps_what_was_just_saved(tmp_path: Path) -> None:
    for step in (10, 20, 5):
        checkpoints.save(tmp_path, step, state(step))
    assert checkpoints.steps(tmp_path) == [20, 5]


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "no dict", "one bit"])
def test_a_damaged_newest_falls_back_with_a_warning(tmp_path: Path, damage: str) -> None:
    checkpoints.save(tmp_path, 1, state(1.0))
    newest = checkpoints.save(tmp_path, 2, state(2.0))
    if damage == "no dict":
        torch.save([1, 2], newest)
    else:
        whole = newest.read_bytes()
        weight = whole.index(state(2.0)["weights"].numpy().tobytes())
        flipped = whole[:weight] + bytes([whole[weight] ^ 1]) + whole[weight + 1 :]
        newest.write_bytes(
            {"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"not a checkpoint", "one bit": flipped}[
                damage
            ]
        )
    warnings: list[str] = []
    step, loaded = checkpoints.load_latest(tmp_path, warn=warnings.append)
    assert step == 1
    assert float(loaded["weights"][0]) == 1.0
    assert len(warnings) == 1
    assert "step_00000002.pt" in warnings[0]


def test_no_code_in_a_checkpoint_is_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "sprung",))

    path = checkpoints.save(tmp_path, 1, state(1.0))
    torch.save({"trap": Trap()}, path)
    with pytest.raises(CheckpointError, match="none of its 1 checkpoints"):
        checkpoints.load_latest(tmp_path, warn=lambda text: None)
    assert not (tmp_path / "sprung").exists()


def test_none_names_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(CheckpointError, match=r"no checkpoint; expected checkpoints/step_\*.pt. It holds holiday.jpg"):
        checkpoints.load_latest(tmp_path)


def test_a_full_disk_keeps_the_old_ones_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints.save(tmp_path, 1, state(1.0))
    checkpoints.save(tmp_path, 2, state(2.0))

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:100])
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(tmp_path, 3, state(3.0))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "step_00000001.pt",
        "step_00000002.pt",
    ]
    assert checkpoints.load_latest(tmp_path)[0] == 2
