"""Test images: only a confirmation and the commands that prepare and check data open them."""

from collections.abc import Mapping

import numpy as np
import torch

from lkca_search.data.batches import Evaluation
from lkca_search.data.check import check_splits
from lkca_search.data.readers.download_cache import Progress, no_progress
from lkca_search.data.store import Images, open_images
from lkca_search.errors import DataError, MissingFolderError, UserError
from lkca_search.own_code import is_dotted
from lkca_search.records.model_description import ModelDescription
from lkca_search.records.predictions import Predictions
from lkca_search.records.record import TestResult
from lkca_search.spec.cells import specs_by_dataset
from lkca_search.spec.search_spec import SearchSpec
from lkca_search.spec.sections import DataSection
from lkca_search.training.evaluation import EVALUATION_BATCH, evaluate
from lkca_search.training.images import DataDirs, open_split, open_train_images
from lkca_search.training.loop import Training


def open_test_images(
    data: DataSection,
    data_dirs: DataDirs,
    *,
    train: Images | None = None,
    verify: bool = False,
    progress: Progress = no_progress,
) -> Images:
    """Open the test split of a space file's dataset; download and decode it first if needed.

    `train` is the training split if it is open already. With `verify`, damaged pixels are found too.

    Raises:
        DataError: The split cannot be read, or its classes or image shape differ from the training split's.
    """
    images = open_split(data, data_dirs, "test", verify=verify, progress=progress)
    check_splits(open_train_images(data, data_dirs) if train is None else train, images)
    return images


def open_all_test_images(
    spec: SearchSpec,
    data_dirs: DataDirs,
    *,
    train: Mapping[str | None, Images] | None = None,
    verify: bool = False,
    progress: Progress = no_progress,
) -> Mapping[str | None, Images]:
    """Open the test split of each dataset of a search, by its level of the factor `dataset`; see `open_test_images`."""
    return {
        level: open_test_images(
            part.data, data_dirs, train=train[level] if train else None, verify=verify, progress=progress
        )
        for level, part in specs_by_dataset(spec).items()
    }


def open_model_test_images(
    description: ModelDescription,
    data_dirs: DataDirs,
    *,
    dataset: str | None = None,
    trusts_code: bool = False,
    progress: Progress = no_progress,
) -> Images:
    """Open the test images on which a kept model of a replicate was tested; `dataset` names them if they have moved.

    With `trusts_code`, a dataset of your own that the description names may be imported, which runs its code.

    Raises:
        UserError: The model is that of a trial, which is never tested; or its dataset is your own and not trusted.
        DataError: The images cannot be read, or are not those of the test.
    """
    if description.test_hash is None:
        raise UserError(
            "test images must be given to the model of a replicate, which a confirmation has tested, got that of trial "
            f"{description.trial_id}: `lkca-search confirm {description.search}`, or name other images"
        )
    name = dataset or description.dataset
    if dataset is None and is_dotted(name) and not trusts_code:
        raise UserError(
            f"the model has the dataset {name}, which is code of its own: reading its test images imports that module "
            "and runs it. If you trust it, repeat the command with --trust-own-code"
        )
    try:
        images = open_images(
            name,
            "test",
            cache=data_dirs.cache,
            data_dir=data_dirs.data_dir,
            image_size=description.image_size,
            progress=progress,
        )
    except MissingFolderError as error:
        raise error.with_step("add --dataset ") from error
    if images.content_hash != description.test_hash:
        raise DataError(
            f"the test images of {name} must be those of the model's test, SHA-256 {description.test_hash[:16]}, got "
            f"{images.content_hash[:16]}: restore them, or name their dataset by --dataset"
        )
    return images


def evaluate_on_test(training: Training, images: Images, *, device: torch.device) -> tuple[TestResult, Predictions]:
    """Test a finished training on all test images, normalized as its training images.

    Returns:
        Loss, accuracy and further metrics, and the predictions from which all are computed.
    """
    batches = Evaluation(
        images=images,
        indices=np.arange(len(images.labels)),
        mean=training.batches.mean,
        std=training.batches.std,
        batch_size=EVALUATION_BATCH,
        device=device,
    )
    with training.numerics.applied():
        evaluated = evaluate(training.evaluated_model, batches, training.numerics.forward)
    predictions = Predictions(
        labels=evaluated.labels.astype(np.uint16),
        predicted=evaluated.logits.argmax(dim=1).numpy().astype(np.uint16),
        probabilities=evaluated.probabilities.astype(np.float16),
        data_hash=images.content_hash,
        class_names=images.class_names,
    )
    result = TestResult(
        num_images=len(images.labels),
        data_hash=images.content_hash,
        loss=evaluated.loss,
        accuracy=evaluated.accuracy,
        metrics=training.metrics.of_test(evaluated.probabilities, evaluated.labels),
    )
    return result, predictions
