"""What processes that ``torchrun --max-restarts=N`` starts again go on with: the run folder that they made before.

The folder's path is kept in ``torchrun``'s own store, which lives as long as that command: no run of another command,
of the same name or with the same port, can be taken for it.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist

from nerfkit.errors import ConfigError

TIMEOUT = timedelta(minutes=1)  # to reach the store


def note(folder: Path) -> None:
    """Keeps the path of the run's folder for processes that are started again; without effect where none will be."""
    if os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0" and _has_store():
        _store().set(_key(), str(folder.absolute()))


def begun() -> Path | None:
    """The run folder of the processes in whose place this one was started; None where it is the first, or none is left.

    Raises:
        ConfigError: there is no telling, as ``torchrun`` shares no store.
    """
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        return None
    if not _has_store():
        raise ConfigError(
            "--max-restarts: torchrun has no store here that says which run goes on; go on by hand with resume=auto, "
            "or start it with --rdzv-backend=c10d"
        )
    store = _store()
    if not store.check([_key()]):
        return None
    folder = Path(store.get(_key()).decode())
    return folder if (folder / "config.yaml").exists() else None


def goes_on(folder: Path) -> bool:
    """Whether the run has saved something to go on from; else it begins anew."""
    return any(folder.glob("checkpoints/*.pt"))


def rendezvous() -> dict[str, Any]:
    """How ``init_process_group`` is to meet the others: by names of their own where all are started again.

    ``torchrun``'s store still has the addresses of those that are gone.
    """
    again = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if again == "0" or not _has_store():
        return {}
    store = dist.PrefixStore(f"nerfkit/start_{again}", _store())
    return {"store": store, "rank": int(os.environ["RANK"]), "world_size": int(os.environ["WORLD_SIZE"])}


def _key() -> str:
    return f"nerfkit/{os.environ.get('TORCHELASTIC_RUN_ID', '')}/run_folder"


def _has_store() -> bool:
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _store() -> dist.TCPStore:
    return dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=TIMEOUT)
