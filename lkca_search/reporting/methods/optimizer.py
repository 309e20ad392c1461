"""Methods of the optimizer in a report: optimizer, schedule, loss, clipping and averaging of the trainings."""

from collections.abc import Iterable, Sequence

from lkca_search.recipe import ADAM_EPSILON, BETA1, DECAY_FRACTION, FINAL_LEARNING_RATE, LAMB_EPSILON
from lkca_search.reporting.values.numbers import format_range, join_words
from lkca_search.spec.configuration import Configuration
from lkca_search.spec.recipe.rules import fill_recipe

_DECAYED = {
    "all": "on all parameters, biases and normalization included",
    "weights": "on weights alone, without biases, norms, positions, class tokens and layer scales",
}
_DECAYS = {
    "cosine": "falls as half a cosine to {final}",
    "linear": "falls linearly to {final}",
    "constant": "stays constant",
    "warmup_stable_decay": "stays constant and falls linearly to {final} in {share} of the steps",
}


def optimizer_methods(configurations: Sequence[Configuration]) -> str:
    """Return the sentences on optimizer, schedule and loss of the trainings with these configurations."""
    filled = [fill_recipe(configuration) for configuration in configurations]
    optimizers = _group(filled, "optimizer")
    verb = "optimizer is" if len(optimizers) == 1 else "optimizers are"
    described = join_words([_describe(name, group) for name, group in optimizers.items()])
    decays = [_decay(name, group) for name, group in _group(filled, "schedule").items()]
    warmup, smoothing = format_values(filled, "warmup_fraction"), format_values(filled, "label_smoothing")
    return (
        f"The {verb} {described}. The learning rate rises linearly over a fraction {warmup} of the steps, then "
        f"{', or '.join(decays)}. The loss is cross-entropy with label smoothing {smoothing}{_class_weights(filled)}. "
        f"{_clipping(filled)}, and {_averaging(filled)}."
    )


def format_values(configurations: Iterable[Configuration], name: str) -> str:
    """Return the value of a hyperparameter, or the range or list of its values; empty if it does not apply."""
    values = {getattr(configuration, name) for configuration in configurations} - {None}
    if not values:
        return ""
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return format_range((min(values), max(values)), _number)
    return join_words(sorted(str(value).lower() for value in values))


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def _group(configurations: Sequence[Configuration], name: str) -> dict[str, list[Configuration]]:
    """Return the configurations of each value of a name, in the order of the values' first use."""
    groups: dict[str, list[Configuration]] = {}
    for configuration in configurations:
        groups.setdefault(getattr(configuration, name), []).append(configuration)
    return groups


def _describe(optimizer: str, group: list[Configuration]) -> str:
    """Return an optimizer with its constants, learning rates and weight decay."""
    momentum, beta2, rate, decay = (
        format_values(group, name) for name in ("momentum", "beta2", "learning_rate", "weight_decay")
    )
    betas = f"β1 = {BETA1:g}, β2 = {beta2}"
    constants = {
        "adamw": f"AdamW with {betas}, ε = {ADAM_EPSILON:g}, ",
        "sgd": f"SGD with {'Nesterov ' if any(each.momentum for each in group) else ''}momentum {momentum}, ",
        "lamb": f"LAMB with {betas}, ε = {LAMB_EPSILON:g}, ",
        "lion": f"Lion with {betas}, ",
    }.get(optimizer)
    if constants is None:
        given = [text for text, value in ((f"momentum {momentum}", momentum), (betas, beta2)) if value]
        constants = f"{optimizer} with {''.join(f'{text}, ' for text in given)}"
    kind = {"adamw": "decoupled weight decay", "lion": "decoupled weight decay"}.get(optimizer, "weight decay")
    decayed = ", or ".join(_DECAYED[name] for name in _group(group, "weight_decay_on"))
    return f"{constants}peak learning rate {rate} and {kind} {decay} {decayed}"


def _decay(schedule: str, group: list[Configuration]) -> str:
    given = [each for each in group if each.final_lr_fraction is not None]
    ends = [f"{format_values(given, 'final_lr_fraction')} of the peak"] if given else []
    if len(given) < len(group):
        ends.append(f"{FINAL_LEARNING_RATE:g}")
    is_cut = any(each.warmup_fraction > 1 - DECAY_FRACTION for each in group)  # the decay starts after the warm-up
    share = f"{'at most ' if is_cut else ''}the last {DECAY_FRACTION:.0%}"
    return _DECAYS[schedule].format(final=" or ".join(ends), share=share)


def _class_weights(configurations: Sequence[Configuration]) -> str:
    kinds = _group(configurations, "class_weights")
    if "balanced" not in kinds:
        return ""
    some = " in some trainings" if "none" in kinds else ""
    return f"; classes are weighted inversely to their number of training images{some}"


def _clipping(configurations: Sequence[Configuration]) -> str:
    clipped = [each for each in configurations if each.gradient_clip]
    if not clipped:
        return "Gradients are not clipped"
    some = " in some trainings" if len(clipped) < len(configurations) else ""
    return f"Gradients are clipped to a norm of {format_values(clipped, 'gradient_clip')}{some}"


def _averaging(configurations: Sequence[Configuration]) -> str:
    averaged = [each for each in configurations if each.ema_decay]
    if not averaged:
        return "weights are not averaged"
    some = " in some trainings" if len(averaged) < len(configurations) else ""
    decay = format_values(averaged, "ema_decay")
    return f"the evaluated weights are exponential moving averages whose decay rises to {decay}{some}"
