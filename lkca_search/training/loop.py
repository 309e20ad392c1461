"""Training loop: a generator of results that can stop at any result and resume to the same numbers."""

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lkca_search.data.batches import Batches, Evaluation
from lkca_search.records.provenance import LayerBackend
from lkca_search.records.record import Result
from lkca_search.seeds import derive_seed
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.metrics import OwnMetric, find_metric, name_of
from lkca_search.training.backends.choice import apply_backends
from lkca_search.training.device import record_nondeterminism
from lkca_search.training.evaluation import evaluate
from lkca_search.training.metrics import MetricSet
from lkca_search.training.recipe.averaging import averaged_model
from lkca_search.training.recipe.optimizers import make_optimizer
from lkca_search.training.recipe.precision import Numerics
from lkca_search.training.recipe.schedule import Schedule
from lkca_search.training.state_check import check_optimizer_state, check_state


class TrainingDiverged(RuntimeError):
    """Training or validation loss that is not finite: a fault of the trial itself."""


class Training:
    """One training. All randomness is a function of (seed, step), so the state is weights, optimizer and curve."""

    def __init__(
        self,
        *,
        model: nn.Module,
        batches: Batches,
        validation: Evaluation,
        schedule: Schedule,
        configuration: Configuration,
        loss: nn.Module,
        seed: int,
        metrics: Sequence[str | OwnMetric] = ("val_accuracy",),
        patience: int | None = None,
        numerics: Numerics | None = None,
    ) -> None:
        """Create a training; it ends early after `patience` results that do not improve the first metric.

        `numerics` have prepared the model; by default, it is trained in float32 on the CPU.
        """
        self.model = model
        self.batches = batches
        """Training batches. Their mean and standard deviation normalize every image."""
        self.numerics = numerics or Numerics()
        """Precision, memory layout and compilation."""
        self._scaler = self.numerics.make_scaler()
        self._validation = validation
        self._schedule = schedule
        self._loss = loss
        self._gradient_clip = configuration.gradient_clip
        self._average = averaged_model(model, configuration.ema_decay) if configuration.ema_decay else None
        self._seed = seed
        self.metrics = MetricSet(metrics)
        """Metrics of every evaluation besides loss and accuracy."""
        self._leading, self._sign = name_of(metrics[0]), find_metric(metrics[0]).sign
        self._patience = patience
        device = next(model.parameters()).device
        self._cuda_devices = [device] if device.type == "cuda" else []
        self._curve: list[Result] = []
        self._nondeterministic: set[str] = set()
        self.backends: tuple[LayerBackend, ...] | None = None
        """Backend of each shape of LKCA layers; None if each layer estimates its own."""
        self._optimizer = make_optimizer(model, configuration)

    @property
    def evaluated_model(self) -> nn.Module:
        """Model that is evaluated: with `ema_decay` the average of the trained one, else the trained one."""
        return self.model if self._average is None else self._average.module

    @property
    def step(self) -> int:
        """Optimizer steps at the last result; 0 before the first."""
        return self._curve[-1].step if self._curve else 0

    @property
    def nondeterministic(self) -> tuple[str, ...]:
        """Operations without a deterministic implementation that have run, in torch's words."""
        return tuple(sorted(self._nondeterministic))

    def use_backends(self, backends: tuple[LayerBackend, ...]) -> None:
        """Compute LKCA layers by these backends. Call it before the first step."""
        self.backends = backends
        apply_backends(self.model, backends)
        apply_backends(self.evaluated_model, backends)

    @property
    def last_step(self) -> int:
        """Step of the last result, unless patience ends the training earlier."""
        return self._schedule.steps

    def is_last(self, result: Result) -> bool:
        """Return True if the training ends with this result, which `results` has yielded."""
        return result.step == self.last_step or self._out_of_patience(result.step)

    def state(self) -> dict[str, Any]:
        """Return the content of a checkpoint. Call it between two results."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "numerics": self.numerics.state(),
            "scaler": self._scaler.state_dict(),
            "curve": [result.model_dump() for result in self._curve],
            "backends": None if self.backends is None else [each.model_dump(mode="json") for each in self.backends],
        }
        return state if self._average is None else state | {"average": self._average.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Resume from a state. `results` yields the results in it again, then trains on.

        Raises:
            ValueError: The state is of another training. Nothing is changed.
        """
        curve = [Result.model_validate(result) for result in state["curve"]]
        if not curve or tuple(result.step for result in curve) != self._schedule.reports[: len(curve)]:
            raise ValueError(f"it has results of steps {[result.step for result in curve]}")
        self.numerics.check(state.get("numerics"))
        check_state(state["model"], self.model)
        check_optimizer_state(state["optimizer"], self._optimizer)
        if self._average is not None:
            check_state(state["average"], self._average)
            self._average.load_state_dict(state["average"])
        self.model.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state.get("scaler", {}))
        self._curve = curve
        if (backends := state.get("backends")) is not None:
            self.use_backends(tuple(LayerBackend.model_validate(each, strict=False) for each in backends))

    def results(self) -> Iterator[Result]:
        """Train to the end and yield a result per report.

        Raises:
            TrainingDiverged: A loss is not finite.
        """
        yield from tuple(self._curve)
        for stop in self._schedule.reports[len(self._curve) :]:
            if self._out_of_patience(self.step):
                return
            with self.numerics.applied(), record_nondeterminism(self._nondeterministic):
                result = self._advance(stop)
            self._curve.append(result)
            yield self._curve[-1]

    def _out_of_patience(self, step: int) -> bool:
        """Return True if the last `patience` results up to a step are no better than an earlier one."""
        if self._patience is None:
            return False
        values = [self._sign * result.value(self._leading) for result in self._curve if result.step <= step]
        return bool(values) and len(values) - 1 - values.index(max(values)) >= self._patience

    def _advance(self, stop: int) -> Result:
        start, started = self.step, time.perf_counter()
        earlier_seconds = self._curve[-1].seconds if self._curve else 0.0
        with torch.random.fork_rng(devices=self._cuda_devices):
            losses = torch.stack([self._train_step(step) for step in range(start, stop)])
        finite = torch.isfinite(losses)
        if not finite.all():
            step = start + int((~finite).nonzero()[0, 0]) + 1
            raise TrainingDiverged(f"the loss of step {step} of {self._schedule.steps} is not finite")
        evaluated = evaluate(self.evaluated_model, self._validation, self.numerics.forward)
        if not math.isfinite(evaluated.loss):
            raise TrainingDiverged(f"the validation loss after step {stop} of {self._schedule.steps} is not finite")
        samples = self.batches.samples_before(stop)
        return Result(
            step=stop,
            epoch=samples / self.batches.num_images,
            samples=samples,
            seconds=earlier_seconds + time.perf_counter() - started,
            learning_rate=self._schedule.learning_rate(stop - 1),
            train_loss=losses.mean(dtype=torch.float64).item(),
            val_loss=evaluated.loss,
            val_accuracy=evaluated.accuracy,
            time=time.time(),
            metrics=self.metrics.of_validation(evaluated.probabilities, evaluated.labels),
        )

    def _train_step(self, step: int) -> Tensor:
        for group in self._optimizer.param_groups:
            group["lr"] = self._schedule.learning_rate(step)
        images, labels = self.batches.train_batch(step)
        torch.manual_seed(derive_seed(self._seed, "step", step))
        self.model.train()
        loss: Tensor = self._loss(self.numerics.forward(self.model, images), labels)
        self._optimizer.zero_grad()
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        if self._gradient_clip:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), self._gradient_clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        if self._average is not None:
            self._average.update_parameters(self.model)
        return loss.detach()
