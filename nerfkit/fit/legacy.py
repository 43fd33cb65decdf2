"""Checkpoints of version 0.1.0, as this version keeps them."""

from typing import Any


def upgraded(state: dict[str, Any]) -> dict[str, Any]:
    """A state of any version as ``FieldFit.load_state_dict`` takes it.

    0.1.0 kept field and sampler apart, spelled ``colour`` and ``optimiser``, and counted the grid's updates.
    """
    if "field" not in state:
        return state

    def named(part: str, prefix: str) -> dict[str, Any]:
        return {f"{prefix}.{key.replace('colour', 'color')}": value for key, value in state[part].items()}

    return {
        "model": named("field", "field") | named("sampler", "sampler"),
        "average": named("average", "field"),
        "optimizer": state["optimiser"],
        "progress": {key: value for key, value in state["progress"].items() if key != "next_update"},
    }
