"""A run in a browser, through viser: field and mesh drawn here, for the camera that a client turns."""
