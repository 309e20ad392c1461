"""Texts of `--help`: the paragraphs of a command, and its example, which fits one line of 80 columns."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

_EXAMPLES: Mapping[str, str] = {
    "init": "init study.yaml --dataset digits --trials 6",
    "plan": "plan search_spaces/quickstart.yaml",
    "run": "run search_spaces/quickstart.yaml --hours 2",
    "status": "status quickstart --watch",
    "stop": "stop quickstart",
    "list": "list",
    "confirm": "confirm quickstart --draws 3 --seeds 2",
    "rerun": "rerun quickstart",
    "repair": "repair quickstart",
    "best": "best quickstart",
    "report": "report quickstart --to report",
    "compare": "compare quickstart quickstart_long",
    "publish": "publish quickstart --to results",
    "predict": "predict quickstart photo.jpg --top 3",
    "export": "export quickstart --to onnx",
    "simulate": "simulate quickstart --pruner median",
    "ui": "ui quickstart",
    "sync": "sync quickstart",
    "inspect": "inspect quickstart",
    "delete": "delete quickstart --dry-run",
    "rename": "rename quickstart first_try",
    "archive": "archive quickstart --to quickstart.tar.zst",
    "restore": "restore quickstart.tar.zst --name quickstart_again",
    "submit": "submit study.yaml --address http://HEAD:8265",
    "logs": "logs quickstart --address http://HEAD:8265 --follow",
    "models": "models lkca --size 32",
    "doctor": "doctor",
    "data list": "data list",
    "data prepare": "data prepare cifar10",
    "data check": "data check folder:photos --image-size 64",
}


def example(command: str) -> str:
    """Return the line of `--help` with an example of a command, named as `run` or `data list`."""
    return f"Example: lkca-search {_EXAMPLES[command]}"


def describe(command: Callable[..., Any]) -> str:
    """Return the docstring of a command with one line per paragraph: typer would keep the line ends of the code."""
    paragraphs = (inspect.getdoc(command) or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
