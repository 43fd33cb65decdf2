"""A side room that anyone may write to: the run folder, its log, metrics, checkpoints and TensorBoard."""

from nerfkit.runs.folder import Run, find

__all__ = ["Run", "find"]
