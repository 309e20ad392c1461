"""Grid of tokens of an image, and the rules for patch and kernel sizes."""

from lkca_search.spec.configuration import ImageShape

Grid = tuple[int, int]
"""Height and width of the token grid, in tokens."""


def token_grid(patch_size: int, shape: ImageShape) -> Grid:
    """Return height and width of the token grid of an image cut into square patches."""
    return shape.height // patch_size, shape.width // patch_size


def full_kernel_size(grid: Grid) -> int:
    """Return 2 s - 1 for a grid of shorter side s. On a square grid, this kernel connects every pair of tokens."""
    return 2 * min(grid) - 1


def patch_size_rule(patch_size: int, shape: ImageShape) -> str | None:
    """Return the rule that a patch size breaks on images of this shape, or None."""
    if shape.height % patch_size == 0 and shape.width % patch_size == 0:
        return None
    return f"patch_size must divide height and width of the image, got {patch_size} on {shape.height}x{shape.width}"


def kernel_size_rule(kernel_size: int, grid: Grid) -> str | None:
    """Return the rule that a kernel size breaks on the grid, or None. Taps beyond 2 s - 1 never touch a token."""
    largest = full_kernel_size(grid)
    if kernel_size % 2 == 1 and 1 <= kernel_size <= largest:
        return None
    height, width = grid
    article = "an" if str(height).startswith("8") or height in (11, 18) else "a"
    return f"kernel_size must be odd and at most {largest} on {article} {height}x{width} grid, got {kernel_size}"
