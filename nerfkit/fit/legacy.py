"""Checkpoints of earlier versions, as this version keeps them."""

from typing import Any


def upgraded(state: dict[str, Any]) -> dict[str, Any]:
    """A state of any version as ``FieldFit.load_state_dict`` takes it.

    0.1.0 kept field and sampler apart, spelled ``colour`` and ``optimiser``, and counted the grid's updates; later
    versions had no corrections, or those of exposure alone.
    """
    if "corrections" not in state:
        exposure = state.get("exposure", {})
        state = state | {"corrections": {f"exposure.{name}": value for name, value in exposure.items()}}
    if "field" not in state:
        return state

    def named(part: str, prefix: str) -> dict[str, Any]:
        return {f"{prefix}.{key.replace('colour', 'color')}": value for key, value in state[part].items()}

    return {
        "model": named("field", "field") | named("sampler", "sampler"),
        "average": named("average", "field"),
        "optimizer": state["optimiser"],
        "corrections": state["corrections"],
        "progress": {key: value for key, value in state["progress"].items() if key != "next_update"},
    }
