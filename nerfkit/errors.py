"""The three errors that bad input raises. A command prints their message alone and exits with code 2."""


class UserError(Exception):
    """Bad input. The message says which file or key, what is wrong there, what was expected, and how to mend it."""


class SceneError(UserError):
    """A scene, image, mask, camera or mesh file that cannot be used."""


class ConfigError(UserError):
    """A configuration key or value that cannot be used."""


class CheckpointError(UserError):
    """A run folder or checkpoint that cannot be used."""
