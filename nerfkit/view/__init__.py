"""Camera paths, frames and videos of anything that can render a view."""
