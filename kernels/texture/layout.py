"""Where the levels of a pyramid lie in memory."""


def level_table(textures: int, height: int, width: int) -> list[tuple[int, int, int]]:
    """(first texel, height, width) of each level, the full one first; a level holds all textures' texels in a row."""
    table = [(0, height, width)]
    while height > 1 or width > 1:
        first = table[-1][0] + textures * height * width
        height, width = max(1, height // 2), max(1, width // 2)
        table.append((first, height, width))
    return table
