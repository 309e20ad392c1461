"""Search with a kept model, made by one short training, and images to classify."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from lkca_search.layout import Home, SearchFolder
from lkca_search.records.model_description import model_folder
from lkca_search.records.predictions import save_predictions
from lkca_search.records.record import Record
from lkca_search.training.images import DataDirs
from tests.support.models import train_model
from tests.support.records import make_record, make_replicate, make_search

REPLICATE = "family=lkca,data_fraction=0.1/0/draw=1,seed=0"


def make_kept_search(name: str = "made") -> tuple[SearchFolder, Path]:
    """Start a search in the home of the environment, with a trial, a tested replicate and its kept model.

    Return the folder of the search and that of the model.
    """
    home = Home.from_environment()
    data_dirs = DataDirs(cache=home.datasets, data_dir=None)
    record = make_replicate(0)
    folder = make_search(name, [make_record(0), make_record(0, family="vit", accuracy=0.9)])
    kept = model_folder(folder, record)
    assert isinstance(kept, Path)
    _, test, predictions = train_model(kept, data_dirs)
    save_predictions(predictions, kept, replicate_id=record.trial_id)
    write_record(folder, record.model_copy(update={"test": test}))
    return folder, kept


def write_record(folder: SearchFolder, record: Record) -> None:
    path = model_folder(folder, record) / "record.json"
    assert isinstance(path, Path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(record.model_dump_json())


def encode(pixels: NDArray[np.uint8], *, mode: str | None = None, kind: str = "PNG") -> bytes:
    """Return an image file with pixels (H, W) or (H, W, C), converted to a mode of Pillow."""
    image = Image.fromarray(pixels)
    stream = io.BytesIO()
    (image if mode is None else image.convert(mode)).save(stream, format=kind)
    return stream.getvalue()


def write_parquet(path: Path, images: list[bytes | None], *, row_group_size: int = 100) -> None:
    """Write encoded images as Hugging Face does, without labels."""
    rows = [None if image is None else {"bytes": image, "path": "x.png"} for image in images]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), path, row_group_size=row_group_size)
