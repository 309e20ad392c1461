"""Colours that are told apart by most eyes, on white and on black, in print and on a screen (Okabe & Ito 2008)."""

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6fdf", "#b8860b", "#56b4e9", "#7f7f7f")
"""By variant, in the order of the space file; from the ninth on they begin again, with another mark."""
MARKS = ("circle", "square", "diamond", "triangle-up", "cross", "star")


SCALE = ("#f2f6fa", "#5aa2d6")
"""Of heat maps, from the least to the most: so light that what is written on it is read, in grey, too."""
SCALE_INK = "#14181f"
"""What is written on it."""


def color_of(place: int) -> str:
    """The colour of a variant by its place."""
    return COLORS[place % len(COLORS)]


def mark_of(place: int) -> str:
    """The mark of its points."""
    return MARKS[place % len(MARKS)]
