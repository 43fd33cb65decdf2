"""Soft visibility: masks and pictures in which every face near a pixel takes part."""
