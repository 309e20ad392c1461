"""Images on which variants disagree: a sentence, pictures, and a table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from lkca_search.analysis.predictions.disagreement import NUM_ASSIGNMENTS, Disagreement, DisputedImage, ImageVotes
from lkca_search.reporting.values.figure import Gallery, Picture
from lkca_search.reporting.values.numbers import format_count, format_percent, pluralize
from lkca_search.reporting.values.table import Column, Table, TableCell, make_table, number_cell, share_cell, text_cell

FindPictures = Callable[[str, Sequence[int]], Mapping[int, bytes]]
"""Function from the hash of a test split and indices of images to PNG files; it returns none without the images."""
MAX_PICTURES = 12
"""Most pictures on the page."""


def no_pictures(data_hash: str, indices: Sequence[int]) -> Mapping[int, bytes]:
    """Return no picture."""
    return {}


def disagreement_sentence(found: Disagreement) -> str:
    """Return the number of images of disagreement, and that by chance."""
    return (
        f"At {format_count(found.num_train_images)} training images, the shares of right replicates of two variants "
        f"differ by at least a half on {format_count(found.num_disputed)} of "
        f"{pluralize(found.num_images, 'test image')}. Trainings that are assigned to the variants at random, within "
        f"each draw, give {format_percent(found.by_chance)} such images on average, and at least as many in "
        f"{found.num_as_many} of {NUM_ASSIGNMENTS} assignments."
    )


def disagreement_gallery(found: Disagreement, pngs: Mapping[int, bytes]) -> Gallery | None:
    """Return the pictures of the first images; None without a picture."""
    pictures = [
        Picture(png=pngs[image.index], lines=tuple(_lines(image)))
        for image in found.images[:MAX_PICTURES]
        if image.index in pngs
    ]
    if not pictures:
        return None
    return Gallery(
        name="disputed",
        title=f"Images on which variants disagree at {format_count(found.num_train_images)} training images",
        caption=(
            "Test images with the largest difference between the shares of right replicates of two variants. Below "
            "each: its class, the right replicates of each variant with the class that most of them predict if it is "
            "another one, and its position in the test split. The images are chosen as the most extreme ones, so a "
            "part of each difference is chance."
        ),
        pictures=tuple(pictures),
    )


def disagreement_table(found: Disagreement, *, has_pictures: bool) -> Table:
    """Return the images with the largest differences, and the right replicates of each variant."""

    def vote(position: int, image: DisputedImage) -> TableCell:
        votes = image.votes[position]
        return share_cell(votes.num_right, votes.num_replicates)

    def predicted(position: int, image: DisputedImage) -> TableCell:
        return text_cell(image.votes[position].predicted_class)

    columns: list[Column[DisputedImage]] = [
        Column("image", lambda image: number_cell(image.index)),
        Column("class", lambda image: text_cell(image.true_class)),
        *(
            column
            for position, variant in enumerate(found.variants)
            for column in (
                Column(f"{variant} right", partial(vote, position)),
                Column(f"{variant} predicts", partial(predicted, position)),
            )
        ),
    ]
    missing = "" if has_pictures else " There are no pictures: this machine has no decoded test images with their hash."
    return make_table(
        name="disputed_images",
        title=f"Images with the largest disagreement at {format_count(found.num_train_images)} training images",
        caption=(
            "Test images by their position in the test split, from 0. Right: replicates that classify the image "
            "correctly, of those with predictions. Predicts: class that most of the replicates predict. The images "
            f"are chosen as the most extreme ones.{missing}"
        ),
        columns=columns,
        rows=found.images,
    )


def _counts(votes: ImageVotes) -> str:
    return f"{votes.num_right} of {votes.num_replicates}"


def _lines(image: DisputedImage) -> Iterator[str]:
    yield image.true_class
    for votes in image.votes:
        is_other = votes.predicted_class != image.true_class
        yield f"{votes.variant} {_counts(votes)}{f': {votes.predicted_class}' if is_other else ''}"
    yield f"image {image.index}"
