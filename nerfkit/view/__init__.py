"""Camera paths, frames and videos: the third flow, for anything that can render a view."""
