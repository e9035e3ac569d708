"""What gradient caching costs and saves: one SimCLR step, whole and in parts, each in a process of its own.

    python benchmarks/grad_cache.py [--batch 1024 --rows 0 256 64]

A row is the processor time of a step and the peak memory of its process beyond what it had before; 0 is the whole
batch. The network is the demo's, at 32 pixels, batch norm included.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone works without `pip install -e .`

ROOT = Path(__file__).resolve().parents[1]

from benchmarks.record import write  # noqa: E402


def step(batch: int, rows: int) -> dict:
    import torch
    from mmengine import Config
    from mmengine.logging import MMLogger

    from viewplug.frameworks import Siamese
    from viewplug.run.demo import BACKBONE

    torch.set_num_threads(1)
    MMLogger.get_current_instance().setLevel('WARNING')
    cfg = Config.fromfile(ROOT / 'configs/_base_/simclr_r18_32px.py').model
    cfg.update(backbone=BACKBONE, grad_cache=rows or None)
    cfg.branches.image.neck.hidden_channels = 64
    cfg.pop('type')
    model = Siamese(**cfg)
    model.loss([torch.randn(8, 3, 32, 32) for _ in range(2)])['image.loss'].backward()
    views = [torch.randn(batch, 3, 32, 32) for _ in range(2)]
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    model.loss(views)['image.loss'].backward()
    seconds = time.process_time() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return dict(batch=batch, rows=rows, seconds=round(seconds, 2), mebibytes=round((peak - before) / 1024))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batch', type=int, default=1024)
    parser.add_argument('--rows', type=int, nargs='+', default=[0, 256, 64])
    parser.add_argument('--one', action='store_true', help=argparse.SUPPRESS)
    parser.add_argument('--out', type=Path, default=ROOT / 'benchmarks/results/grad_cache')
    args = parser.parse_args()
    if args.one:
        print(json.dumps(step(args.batch, args.rows[0])))
        return
    found = []
    for rows in args.rows:
        command = [sys.executable, __file__, '--one', '--batch', str(args.batch), '--rows', str(rows)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found.append(json.loads(output.splitlines()[-1]))
    lines = ['| batch | images at a time | processor seconds | memory, MiB |', '|---|---|---|---|']
    lines += [f'| {r["batch"]} | {r["rows"] or "all"} | {r["seconds"]} | {r["mebibytes"]} |' for r in found]
    write(args.out, found, '\n'.join(lines))
    print('\n'.join(lines))


if __name__ == '__main__':
    main()
