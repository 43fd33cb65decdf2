"""python render.py run=outputs/clock/latest: videos of a trained run. --help lists every key."""

from nerfkit.start import render

if __name__ == "__main__":
    render()
