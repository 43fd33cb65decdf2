"""For all tests: one CPU thread for torch.

Where another program is busy, small parallel regions only wait for each other.
"""

import torch


def pytest_configure() -> None:
    torch.set_num_threads(1)
