"""A run folder of version 0.1.0 is still read."""

from pathlib import Path

from omegaconf import OmegaConf

from nerfkit import options, resume

OLD = Path(__file__).parent / "data" / "run_0_1_0"


def test_its_config_is_read() -> None:
    config = resume.load(OLD)
    saved = OmegaConf.load(OLD / "config.yaml")
    for leaf in options.leaves(OmegaConf.structured(config)):
        assert leaf.value == OmegaConf.select(saved, leaf.key), leaf.key
    assert resume.resumed(OLD, [f"resume={OLD}", "trainer.max_steps=40"]).trainer.max_steps == 40
