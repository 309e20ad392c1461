"""Training as users write it: torchvision's transforms, a DataLoader, AdamW, and a learning rate per step."""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks.lkca_backends import published
from benchmarks.peers.arrays import Arrays
from benchmarks.peers.question import FINAL_LEARNING_RATE, LABEL_SMOOTHING, WARMUP_FRACTION, Question
from lkca_search.models.networks.lkca import LKCA
from lkca_search.models.registry import build_model
from lkca_search.spec.configuration import Configuration, ImageShape

EVALUATION_BATCH = 512


class Pictures(Dataset[tuple[NDArray[np.uint8], int]]):
    """Dataset like torchvision's CIFAR10: an array in memory, and a transform per image."""

    def __init__(
        self,
        pixels: NDArray[np.uint8],
        labels: NDArray[np.int64],
        transform: Callable[[Image.Image], Image.Image] | None = None,
    ) -> None:
        self._pixels, self._labels, self._transform = pixels, labels.tolist(), transform

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, i: int) -> tuple[NDArray[np.uint8], int]:
        if self._transform is None:
            return self._pixels[i], self._labels[i]
        image = self._transform(Image.fromarray(self._pixels[i].squeeze()))
        return np.asarray(image).reshape(self._pixels.shape[1:]), self._labels[i]


class Collate:
    """Stack of samples, normalized as a batch: one call per image would take longer."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        """Compute mean and standard deviation of the channels of training images (N, H, W, C)."""
        values = pixels.reshape(-1, pixels.shape[-1]) / 255
        self.mean = torch.tensor(values.mean(0), dtype=torch.float32)[:, None, None]
        self.std = torch.tensor(values.std(0), dtype=torch.float32).clamp_min(1e-3)[:, None, None]

    def __call__(self, samples: list[tuple[NDArray[np.uint8], int]]) -> tuple[Tensor, Tensor]:
        pixels, labels = zip(*samples, strict=True)
        images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous()
        return images.float().div_(255).sub_(self.mean).div_(self.std), torch.tensor(labels)


class PlainTraining:
    """One training of a model of this package, without the rest of the package."""

    def __init__(self, question: Question, arrays: Arrays, values: Mapping[str, float | str], *, seed: int) -> None:
        """Build model, loaders and optimizer. `values` are the family and the sampled parameters."""
        torch.manual_seed(seed)
        side, *_ = shape = ImageShape(*arrays.train_pixels.shape[1:])
        self.model: nn.Module = build_model(
            Configuration(
                family=str(values["family"]),
                match_parameters=question.parameters,
                drop_path_rate=float(values["drop_path_rate"]),
            ),
            shape,
            len(arrays.class_names),
        )
        if question.published_lkca:
            publish(self.model)
        self.collate = Collate(arrays.train_pixels)
        known = {
            "crop": transforms.RandomCrop(side, padding=max(1, side // 8)),
            "flip": transforms.RandomHorizontalFlip(),
        }
        augment = transforms.Compose([known[name] for name in question.augment])
        self.loader = DataLoader(
            Pictures(arrays.train_pixels, arrays.train_labels, augment),
            batch_size=question.batch_size,
            shuffle=True,
            num_workers=question.loader_workers,
            persistent_workers=question.loader_workers > 0,
            collate_fn=self.collate,
        )
        # Validation images have no random part, so they are normalized once.
        validation = Pictures(arrays.validation_pixels, arrays.validation_labels)
        self.validation = list(DataLoader(validation, batch_size=EVALUATION_BATCH, collate_fn=self.collate))
        self.epochs = question.epochs
        self.num_steps = question.epochs * len(self.loader)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=float(values["learning_rate"]),
            weight_decay=float(values["weight_decay"]),
            fused=True,
        )
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, learning_rates(self.num_steps, float(values["learning_rate"]))
        )

    def accuracies(self) -> Iterator[float]:
        """Train, and yield the validation accuracy after each epoch."""
        for _ in range(self.epochs):
            self.model.train()
            for images, labels in self.loader:
                loss = F.cross_entropy(self.model(images), labels, label_smoothing=LABEL_SMOOTHING)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                self.scheduler.step()
            yield self._evaluate()

    @torch.inference_mode()
    def _evaluate(self) -> float:
        self.model.eval()
        correct = sum(int((self.model(images).argmax(1) == labels).sum()) for images, labels in self.validation)
        return correct / sum(len(labels) for _, labels in self.validation)


def publish(model: nn.Module) -> None:
    """Let the LKCA layers of a model compute as their paper writes it: channels folded into the batch."""
    for layer in model.modules():
        if isinstance(layer, LKCA):
            layer.forward = partial(_forward_as_published, layer)  # type: ignore[method-assign]


def _forward_as_published(layer: LKCA, x: Tensor) -> Tensor:
    output: Tensor = layer.out(published(layer.value(x), layer.kernel, layer.grid))
    return output


def learning_rates(num_steps: int, peak: float) -> Callable[[int], float]:
    """Return the learning rate of each step as a multiple of its peak: a linear warm-up, then half a cosine."""
    warmup, final = round(WARMUP_FRACTION * num_steps), min(FINAL_LEARNING_RATE, peak) / peak

    def rate(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))

    return rate
