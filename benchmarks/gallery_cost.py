"""What a contrastive test with a full gallery costs beside the network: time an image and memory, on random embeddings.

    python benchmarks/gallery_cost.py [--gallery 65536 --images 131072 --dims 64 96 128 --threads 1]

Embeddings of HCL's two branches (128 and 196 numbers) of --images images go through viewplug.evaluation's
ContrastiveTest in batches of 512, alone and both together, which is what tools/contrastive_test.py does behind the
network. Time is that of the processor. Memory is the growth of the process: its peak until the gallery is full, and
after.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import torch

from viewplug.evaluation.contrastive_test import ContrastiveTest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.record import write  # noqa: E402

LENGTHS = dict(semantic=128, spatial=196)
BATCH = 512


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def views(generator: torch.Generator) -> tuple[dict, dict]:
    """Embeddings of two views of BATCH images that resemble each other."""
    queries = {name: torch.randn(BATCH, length, generator=generator) for name, length in LENGTHS.items()}
    keys = {name: rows + 0.8 * torch.randn(rows.shape, generator=generator) for name, rows in queries.items()}
    return queries, keys


def measure(args: argparse.Namespace) -> dict:
    embeddings = {name: (name,) for name in LENGTHS} | dict(both=tuple(LENGTHS))
    test = ContrastiveTest(embeddings, args.dims, args.gallery)
    generator = torch.Generator().manual_seed(0)
    before, seconds, done = peak_mib(), 0.0, 0
    found = {}
    while done < args.images:
        queries, keys = views(generator)
        begin = time.process_time()
        test.add(queries, keys)
        seconds += time.process_time() - begin
        done += BATCH
        if done == args.gallery:
            found.update(fill_seconds=seconds, fill_peak_mib=peak_mib() - before)
            seconds = 0.0
        if done > args.gallery and done % 8192 == 0:
            print(f'{done} images, {1000 * seconds / (done - args.gallery):.2f} ms an image', flush=True)
    streamed = args.images - args.gallery
    ms = 1000 * seconds / streamed
    top1 = {name: cells[str(args.dims[0])]['top1']['accuracy'] for name, cells in test.result().items()}
    return found | dict(
        streamed=streamed, ms_an_image=ms, hours_a_million=ms / 3.6, peak_mib=peak_mib() - before, top1=top1
    )


def table(found: dict, setting: dict) -> str:
    lines = [
        f'| gallery of {setting["gallery"]:,}, three embeddings, {len(setting["dims"])} lengths each | |',
        '|---|---|',
        f'| until it is full (PCA, and ranking the images that waited) | {found["fill_seconds"]:.0f} s |',
        f'| every image after that | {found["ms_an_image"]:.2f} ms |',
        f'| a million images | {found["hours_a_million"]:.2f} h |',
        f'| peak memory until it is full | {found["fill_peak_mib"]:.0f} MiB |',
        f'| peak memory after {found["streamed"]:,} images more | {found["peak_mib"]:.0f} MiB |',
    ]
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--gallery', type=int, default=65536)
    parser.add_argument('--images', type=int, default=131072)
    parser.add_argument('--dims', type=int, nargs='+', default=[64, 96, 128])
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--out', type=Path, default=ROOT / 'benchmarks/results/gallery_cost')
    args = parser.parse_args()
    if args.gallery % BATCH or args.images % BATCH or args.images <= args.gallery:
        parser.error(f'--gallery and --images must be multiples of {BATCH}, and --images the larger')
    torch.set_num_threads(args.threads)
    found = measure(args)
    setting = {key: value for key, value in vars(args).items() if key != 'out'} | dict(torch=torch.__version__)
    write(args.out, dict(setting=setting, **found), table(found, setting))
    print(table(found, setting))


if __name__ == '__main__':
    main()
