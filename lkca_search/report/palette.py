"""Colours that are told apart by most eyes, on white and on black, in print and on a screen (Okabe & Ito 2008)."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6fdf", "#b8860b", "#56b4e9", "#7f7f7f")
"""By variant, in the order of the space file; from the ninth on they begin again, with another mark."""
MARKS = ("circle", "square", "diamond", "triangle-up", "cross", "star")


SCALE = "Viridis"
"""Of heat maps: it is read in grey, too."""


def colour_of(place: int) -> str:
    """The colour of a variant by its place."""
    return COLOURS[place % len(COLOURS)]


def mark_of(place: int) -> str:
    """The mark of its points."""
    return MARKS[place % len(MARKS)]
