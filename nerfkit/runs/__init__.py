"""A side room that anyone may write to: the run folder, its log, metrics, checkpoints and TensorBoard."""
