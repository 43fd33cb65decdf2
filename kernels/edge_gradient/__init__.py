"""Visibility gradients of hard pictures: the image stays as it is, its gradient reaches the vertices."""
