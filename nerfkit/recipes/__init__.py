"""Named experiments with meshes, each a short fit of its own: what `experiment=NAME` runs in place of the stages."""
