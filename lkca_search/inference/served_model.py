"""Loader of a kept model for MLflow: `mlflow models serve` and `mlflow.pyfunc.load_model` import this module by name.

MLflow reads the name in the file `MLmodel` of a registered model. Neither pickle nor code of the artifacts is executed.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lkca_search.training.trained_model import TrainedModel, load_trained


class ServedModel:
    """Trained model with the method that MLflow calls."""

    def __init__(self, model: TrainedModel) -> None:
        """Serve a trained model."""
        self._model = model

    def predict(self, images: Any, params: object = None) -> NDArray[np.float32]:
        """Return the probabilities of the classes, (N, classes), of images (N, H, W, C) as uint8.

        `params` is part of MLflow's interface and has no effect.
        """
        return self._model.predict_probabilities(np.asarray(images, dtype=np.uint8))


def _load_pyfunc(path: str) -> ServedModel:
    """Load the model in a folder of artifacts. MLflow requires this name."""
    return ServedModel(load_trained(Path(path)))
