"""The benchmark of GPUs runs in its short form on the CPU, and writes its tables."""

from pathlib import Path

import pytest

from benchmarks.gpu import main


@pytest.mark.slow
def test_the_short_form_of_the_gpu_benchmark_writes_every_table(tmp_path: Path) -> None:
    output = tmp_path / "table.txt"
    assert main(["--device", "cpu", "--quick", "--output", str(output)]) == 0
    text = output.read_text()
    for title in ("Accuracy and speed by precision", "Compilation", "Backends of LKCA", "Trials packed"):
        assert title in text
    assert "left out: nothing" in text


def test_a_gpu_is_needed_for_its_long_form(capsys: pytest.CaptureFixture[str]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(SystemExit):
        main([])
    assert "--device must be cpu on a machine without a GPU" in capsys.readouterr().err
