"""Process that trains with one setting: opens a training per request, and measures its turns."""

import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.processes import own_peak_memory
from lkca_search.data.batches import Evaluation
from lkca_search.data.store import Images
from lkca_search.records.record import TrialMetadata
from lkca_search.records.trial import TrialSpec
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.resources import TrialResources
from lkca_search.spec.sections import DataSection, TrainingSection
from lkca_search.training.assembly import open_training
from lkca_search.training.device import configure_torch
from lkca_search.training.evaluation import evaluate
from lkca_search.training.images import DataDirs
from lkca_search.training.loop import Training
from lkca_search.training.weights_hash import weights_hash

WIDTHS = {
    "lkca": {"16k": 14, "250k": 66, "3M": 234},
    "vit": {"16k": 16, "250k": 56, "3M": 208},
    "resnet": {"16k": 16, "250k": 64, "3M": 216},
    "convmixer": {"16k": 32, "250k": 160, "3M": 592},
}
"""Width of each family, by its approximate number of parameters."""
CPU = torch.device("cpu")
BATCH, STEPS, NUM_IMAGES, EVALUATED = 128, 2, 2000, 1024
"""Images per step, steps per measurement, images of the dataset, and images of an evaluation."""


def random_images() -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(NUM_IMAGES) % 10
    return Images(name="random", pixels=pixels, labels=labels, class_names=tuple("abcdefghij"), content_hash="")


def open_one(family: str, size: str, setting: str) -> tuple[TrialMetadata, Training, Images]:
    """Open a training with a setting, as the loop does otherwise."""
    images = random_images()
    extra = {"optimizer": "torch.optim.AdamW"} if setting == "AdamW not fused" else {}
    spec = TrialSpec(
        data=DataSection(dataset="cifar10", validation=0.005, augment=("crop", "flip")),
        training=TrainingSection(steps=10_000 * STEPS, reports=10_000, batch_size=BATCH),
        resources=TrialResources(cpu=torch.get_num_threads(), gpu=0),
        configuration=Configuration.model_validate({"family": family, "width": WIDTHS[family][size], **extra}),
        seed=0,
        split_seed=0,
    )
    dirs = DataDirs(cache=Path(os.devnull), data_dir=None)
    metadata, training = open_training(spec, dirs, device=CPU, images=images)
    if setting == "channels first":
        training.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    if setting == "channels last":
        training.numerics = replace(training.numerics, channels_last=True)
        training.numerics.prepare(training.model)
    return metadata, training, images


def used() -> tuple[float, float, float, float]:
    """Return CPU seconds, seconds in the kernel, wall seconds and page faults of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime, usage.ru_stime, time.perf_counter(), usage.ru_minflt


def per_turn(work: Callable[[], object]) -> list[float]:
    """Return the use of one turn of work, as `used`."""
    before = used()
    work()
    return [after - start for after, start in zip(used(), before, strict=True)]


class Server:
    """Process of one way: opens a training per request, and measures one turn of it per request."""

    def open(self, family: str, size: str, setting: str) -> dict[str, Any]:
        metadata, self._training, images = open_one(family, size, setting)
        self._results = self._training.results()
        next(self._results)
        next(self._results)
        self._evaluation = None
        if setting.startswith("evaluation of"):
            batches = self._training.batches
            self._evaluation = Evaluation(
                images=images,
                indices=np.arange(EVALUATED),
                mean=batches.mean,
                std=batches.std,
                batch_size=int(setting.split()[-1]),
                device=CPU,
            )
            evaluated = evaluate(self._training.model, self._evaluation)
            return self._described(metadata, weights=hashlib.sha256(evaluated.logits.numpy().tobytes()).hexdigest())
        return self._described(metadata, weights=weights_hash(self._training.model))

    def _described(self, metadata: TrialMetadata, *, weights: str) -> dict[str, Any]:
        return {"parameters": metadata.num_parameters, "flops": metadata.flops, "weights": weights}

    def turn(self) -> dict[str, Any]:
        """Measure one turn, per image."""
        batches = self._training.batches
        if self._evaluation is not None:
            turn, count = per_turn(lambda: evaluate(self._training.model, self._evaluation)), EVALUATED
            batch = 0.0
        else:
            turn, count = per_turn(lambda: next(self._results)), STEPS * BATCH
            batch = per_turn(lambda: [batches.train_batch(step) for step in range(STEPS)])[0] / count
        cpu, system, wall = (value / count for value in turn[:3])
        return {
            "cpu": cpu,
            "system": system,
            "wall": wall,
            "faults": turn[3] / STEPS,
            "batch": batch,
            "peak_bytes": own_peak_memory(),
        }


def serve(setting: str, threads: int) -> None:
    """Answer requests of the parent process, one line of JSON each."""
    configure_torch(num_threads=threads)
    server = Server()
    for line in sys.stdin:
        request = json.loads(line)
        answer = server.turn() if request is None else server.open(*request)
        print(json.dumps(answer), flush=True)
