"""Speed of trainings on a CPU against the floor from their FLOPs, and the effect of each setting that could raise it.

Question:  how many images per second does the loop train, how far is that from the floor, and which settings are faster
           at equal bits?
Command:   python -m benchmarks.cpu_trials [--families lkca vit resnet convmixer] [--sizes 16k 250k 3M] [--seconds 4]
           [--only speed settings threads]
Expected:  a table to read. No setting that keeps the weights is more than 5% faster over all sizes of a family.

Trainings are those of the loop: random images of 32x32 pixels, batches of 128, crop and flip, AdamW, one thread. Each
way has its own process. The ways take turns, and the median of their CPU seconds counts: it does not depend on other
processes as time does. The floor is three forward passes of FLOPs at the speed of a large float32 matrix product.
`batch` is the share of a step that gathers, augments and normalizes its images.

Settings, each against the loop; `same bits` compares the weights after the warm-up:

    kept memory       freed blocks of up to 1 GiB stay in the process; by default glibc returns them to the system
    one arena         MALLOC_ARENA_MAX=1
    huge pages        glibc.malloc.hugetlb=1
    torch huge pages  THP_MEM_ALLOC_ENABLE=1
    jemalloc, tcmalloc  in place of glibc's allocator, if --libraries has the folder of their Debian packages
    AdamW not fused   torch's default on CPUs
    channels first    weights of convolutions as torch makes them
    channels last     images too have their channels last
    evaluation of N   images per evaluation batch, of which the loop has 512; its time per image alone
"""

import argparse
from pathlib import Path

from rich.console import Console

from benchmarks.cpu_trials.server import WIDTHS, serve
from benchmarks.cpu_trials.tables import evaluation_table, settings_table, speed_table, threads_table

TABLES = {"speed": speed_table, "settings": settings_table, "evaluation": evaluation_table, "threads": threads_table}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", choices=list(WIDTHS), default=list(WIDTHS))
    parser.add_argument("--sizes", nargs="+", choices=("16k", "250k", "3M"), default=["16k", "250k", "3M"])
    parser.add_argument("--seconds", type=float, default=4.0, help="minimum seconds per measurement (default: 4)")
    parser.add_argument("--libraries", type=Path, help="folder of libjemalloc.so.2 and libtcmalloc_minimal.so.4")
    parser.add_argument("--only", nargs="+", choices=list(TABLES), default=list(TABLES))
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.threads)
        return
    console = Console(width=140)
    for name in options.only:
        console.print(TABLES[name](options))


if __name__ == "__main__":
    main()
