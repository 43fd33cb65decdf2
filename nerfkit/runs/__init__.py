"""The run folder, its log, metrics, checkpoints and TensorBoard; any package may use it, and it imports none."""
