"""Every item once, in random order, then again; the generator may be shared."""

import torch

from nerfkit.scenes.epochs import Epochs


def test_every_item_once_a_round() -> None:
    epochs = Epochs(range(10, 17), 3)
    drawn = [item for _ in range(7) for item in epochs.next(3)]
    rounds = [drawn[7 * k : 7 * k + 7] for k in range(3)]
    assert [sorted(each) for each in rounds] == [list(range(10, 17))] * 3
    assert rounds[0] != rounds[1] != rounds[2]
    again = Epochs(range(10, 17), torch.Generator().manual_seed(3))
    assert [item for _ in range(7) for item in again.next(3)] == drawn


def test_no_more_than_there_are() -> None:
    assert sorted(Epochs([4, 5], 0).next(9)) == [4, 5]
    assert Epochs([], 0).next(2) == []


def test_a_shared_generator_is_drawn_from_once_a_round() -> None:
    generator, other = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    epochs = Epochs(range(5), generator)
    for _ in range(5):
        epochs.next(1)
    torch.randperm(5, generator=other)
    assert torch.rand(1, generator=generator) == torch.rand(1, generator=other)
