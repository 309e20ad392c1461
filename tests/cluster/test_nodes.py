"""Checks of every node before the first trial, on a cluster whose nodes do not share all files."""

import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from cluster.local.local_cluster import LocalCluster
from tests.support.cluster.submitter import Submitter
from tests.support.processes import Answer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount private files for a node"),
]


def write_digits(folder: Path, *, per_split: int = 300, first: int = 0) -> None:
    """Write `per_split` of scikit-learn's digits per split as Parquet."""
    digits = load_digits()
    folder.mkdir(parents=True)
    for split, begin in (("train", first), ("test", 1000)):
        rows = range(begin, begin + per_split)
        images = [_png(digits.images[row].astype("uint8") * 16) for row in rows]
        labels = [int(digits.target[row]) for row in rows]
        columns = {"image": images, "label": labels, "label_name": [str(label) for label in labels]}
        pq.write_table(pa.table(columns), folder / f"{split}.parquet")


def _png(pixels: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def in_private_mounts(commands: Sequence[str]) -> list[str]:
    """Return a command prefix that runs mount commands visible to the started process only."""
    return ["unshare", "--mount", "sh", "-c", f'{" && ".join(commands)} && exec "$@"', "sh"]


class Nodes:
    """Cluster whose second node has other mounts, and a submitter."""

    def __init__(self, root: Path, cluster: LocalCluster) -> None:
        self.root = root
        self._cluster = cluster
        self._submitter = Submitter(root / "submitter")

    def submit(self, home: str, *overrides: str) -> Answer:
        """Submit a search of four trials to a home below `root`."""
        options = ["--address", self._cluster.dashboard, "--home", str(self.root / home)]
        return self._submitter.call(
            "submit", str(self._submitter.space), *overrides, "search.trials_per_cell=1", *options
        )


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    root = tmp_path_factory.mktemp("nodes")
    for folder in ("private", "gone"):
        (root / folder).mkdir()
    write_digits(root / "images")
    write_digits(root / "others", first=300)
    commands = [
        f"mount -t tmpfs tmpfs {root / 'private'}",
        f"mount --bind {root / 'others'} {root / 'images'}",
        f"mount -t tmpfs tmpfs {root / 'gone'}",
    ]
    write_digits(root / "gone" / "images")
    with LocalCluster() as cluster:
        cluster.add_node(within=in_private_mounts(commands))
        yield Nodes(root, cluster)


def test_a_home_that_a_node_does_not_share_is_refused_with_the_name_of_the_node(nodes: Nodes) -> None:
    answer = nodes.submit("private")
    assert answer.code == 2
    assert "not every node of the cluster can train" in answer.out
    assert re.search(rf"\n  \S+ \(\S+\) cannot read the storage {nodes.root / 'private'}/", answer.out)
    assert "needs a shared path or an object store as its home or storage" in answer.out
    assert not list((nodes.root / "private").glob("searches/*/trials/*/*"))


@pytest.mark.parametrize(
    ("images", "reason"),
    [("images", "has other images than the driver: "), ("gone/images", "cannot open the images: ")],
)
def test_a_node_without_the_images_of_the_driver_is_refused(nodes: Nodes, images: str, reason: str) -> None:
    home = f"home-{images.replace('/', '-')}"
    answer = nodes.submit(home, f"data.dataset=parquet:{nodes.root / images}")
    assert answer.code == 2
    assert re.search(rf"\n  \S+ \(\S+\) {reason}", answer.out)
    assert not list((nodes.root / home).glob("searches/*/trials/*/*"))
