"""Texture look-ups: bilinear, and trilinear through a pyramid of mipmaps."""
