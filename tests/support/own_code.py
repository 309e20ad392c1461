"""Own code of a user: the examples of `docs/own_code.md`, and a package in which each object breaks one law."""

import re
from pathlib import Path

_BLOCK = re.compile(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", re.DOTALL)
_PAGE = Path(__file__).parents[2] / "docs" / "own_code.md"

BROKEN_MODELS = '''
import torch
from torch import nn

COUNT = [0]


class Good(nn.Module):
    def __init__(self, image_shape, num_classes: int, *, width: int = 4, ratio: float = 0.5):
        super().__init__()
        self.flat = nn.Linear(image_shape.height * image_shape.width * image_shape.channels, width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x):
        return self.head(torch.relu(self.flat(x.flatten(1))))


class WrongShape(Good):
    def forward(self, x):
        return super().forward(x).sum(1)


class ThirdStep(Good):
    """Fails in the third training step."""

    def __init__(self, image_shape, num_classes):
        super().__init__(image_shape, num_classes)
        self.steps = 0

    def forward(self, x):
        self.steps += self.training and x.device.type == "cpu" and type(x) is torch.Tensor
        if self.steps == 3:
            raise RuntimeError("no third step")
        return super().forward(x)


class OtherWeights(Good):
    def __init__(self, image_shape, num_classes):
        super().__init__(image_shape, num_classes)
        COUNT[0] += 1
        self.head.bias.data.fill_(COUNT[0])


class NoisyEvaluation(Good):
    def forward(self, x):
        return super().forward(x) + 0.1 * torch.rand(1, device=x.device)


class BatchMean(Good):
    def forward(self, x):
        return super().forward(x - x.mean(0))


class HiddenState(Good):
    """Its output depends on the number of calls, which no checkpoint has."""

    def __init__(self, image_shape, num_classes):
        super().__init__(image_shape, num_classes)
        self.register_buffer("scale", torch.ones(()))
        self.calls = 0

    def forward(self, x):
        self.calls += self.training
        return super().forward(x) * (1 + (self.calls if self.training else 0))


class OwnRandom(Good):
    def forward(self, x):
        is_real = type(x) is torch.Tensor and x.device.type == "cpu"
        noise = torch.rand(10, generator=GENERATOR) if self.training and is_real else 0
        return super().forward(x) + noise


GENERATOR = torch.Generator()


class NotFinite(Good):
    def forward(self, x):
        return super().forward(x) / 0 * 0


class Detached(Good):
    def forward(self, x):
        return super().forward(x).detach()


class Unused(Good):
    def __init__(self, image_shape, num_classes):
        super().__init__(image_shape, num_classes)
        self.spare = nn.Linear(2, 2)


class ReadsValues(Good):
    def forward(self, x):
        return super().forward(x) if x.sum().item() < 1e9 else x


def no_module(image_shape, num_classes):
    return [image_shape]


def other_arguments(classes, width=3):
    return None


def takes_rate(image_shape, num_classes, learning_rate):
    return None


def needs_size(image_shape, num_classes, *, size: int):
    return Good(image_shape, num_classes, width=size)


def raises(image_shape, num_classes):
    raise KeyError("no such layer")


number = 3
'''
BROKEN_AUGMENTATIONS = """
import numpy as np
import torch


def good(pixels, generator):
    return pixels + torch.randint(0, 2, pixels.shape, generator=generator, dtype=torch.uint8)


def to_float(pixels):
    return pixels.float() / 255


def crop(pixels):
    return pixels[:, :, 1:]


def numpy_random(pixels):
    return pixels + torch.from_numpy(np.random.default_rng().integers(0, 2, pixels.shape, dtype=np.uint8))


class Counting:
    def __init__(self):
        self.calls = 0

    def __call__(self, pixels):
        self.calls += 1
        return pixels + self.calls


class NeedsStrength:
    def __init__(self, strength):
        self.strength = strength


def two(pixels, other):
    return pixels


class NotCallable:
    pass


def raises(pixels):
    raise ValueError("no pixels")
"""
BROKEN_DATA = '''
import numpy as np
from PIL import Image

LABELS = np.arange(24) % 3


def _images(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 255, shape).astype(dtype)


class Pairs:
    """Dataset like torchvision's."""

    classes = ["a", "b", "c"]

    def __init__(self, images, labels=LABELS):
        self.items = list(zip(images, labels))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, row):
        image, label = self.items[row]
        return image, int(label)


def pillow(split, home):
    return Pairs([Image.fromarray(image) for image in _images(24, 8, 8, 3)])


def arrays(split, home):
    return Pairs(_images(24, 8, 8))


def gap(split, home):
    return _images(24, 8, 8), LABELS * 2


def negative(split, home):
    return _images(24, 8, 8), LABELS - 1


def float_labels(split, home):
    return _images(24, 8, 8), LABELS.astype(float)


def fewer_labels(split, home):
    return _images(24, 8, 8), LABELS[:20]


def float_images(split, home):
    return _images(24, 8, 8, dtype=np.float32), LABELS


def channels_first(split, home):
    return _images(24, 3, 8, 8), LABELS


def two_sizes(split, home):
    return Pairs([*_images(23, 8, 8), *_images(1, 6, 6)])


def with_transform(split, home):
    return Pairs(_images(24, 8, 8, dtype=np.float32))


def few_names(split, home):
    return _images(24, 8, 8), LABELS, ["a", "b"]


def empty(split, home):
    return _images(0, 8, 8), LABELS[:0]


def nothing(split, home):
    return None


def raises(split, home):
    raise FileNotFoundError(home / "images.npz")


def one_argument(split):
    return None
'''
BROKEN_OPTIMIZERS = """
import torch


class Plain(torch.optim.Optimizer):
    def __init__(self, params, lr=0.1, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.sub_(parameter.grad, alpha=group["lr"] * self.factor())

    def factor(self):
        return 1.0


class HiddenState(Plain):
    steps = 0

    def factor(self):
        self.steps += 1
        return 1.0 / self.steps


class ThirdStep(HiddenState):
    def step(self, closure=None):
        self.steps += 1
        if self.steps == 3:
            raise RuntimeError("no third step")


class NeedsRho(Plain):
    def __init__(self, params, rho):
        super().__init__(params)


def function(params):
    return Plain(params)
"""
BROKEN_METRICS = """
def not_a_number(probabilities, labels):
    return float("nan")


def text(probabilities, labels):
    return "good"


def raises(probabilities, labels):
    raise ZeroDivisionError("no images")


def one_argument(probabilities):
    return 0.5
"""


def write_examples(folder: Path) -> Path:
    """Write the package and the space file of the page into a folder; return the space file."""
    for name, text in _BLOCK.findall(_PAGE.read_text()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "mylab" / "__init__.py").write_text("")
    return folder / "space.yaml"


def write_broken(folder: Path) -> None:
    """Write the package `brokenlab` into a folder."""
    package = folder / "brokenlab"
    package.mkdir(parents=True)
    modules = {
        "__init__": "",
        "models": BROKEN_MODELS,
        "augment": BROKEN_AUGMENTATIONS,
        "data": BROKEN_DATA,
        "optimizers": BROKEN_OPTIMIZERS,
        "metrics": BROKEN_METRICS,
        "syntax": "def broken(:\n",
        "missing": "import no_such_package\n",
        "importing": "\nvalue = 1 / 0\n",
    }
    for name, text in modules.items():
        (package / f"{name}.py").write_text(text)
