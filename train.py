"""python train.py scene=clock: the whole way from photos to a refined mesh. --help lists every key."""

from nerfkit.start import train

if __name__ == "__main__":
    train()
