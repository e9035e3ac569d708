"""`make demo`: MoCo v2, then HCL from its weights, on the embedded data set, on CPU, in minutes.

    python tools/demo.py [--seeds 0 1 2] [--work-dir work_dirs/demo]

It is ``tools/train.py configs/mocov2_hcl_r50.py --stages --demo`` with the result in words: the kNN accuracy of the
untrained network, its curve, where checkpoint and pictures lie, and what to run next.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIG = 'configs/mocov2_hcl_r50.py'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo'))
    args = parser.parse_args()
    gains = [run(seed, args.work_dir / f'seed_{seed}') for seed in args.seeds]
    if len(gains) > 1:
        print(f'kNN gain over {len(gains)} seeds: {", ".join(f"{gain:+.1f}" for gain in gains)} points')
    print('Next, on your own images: python tools/train.py configs/mocov2_r50.py --data-root /path/to/images')
    return 0


def run(seed: int, work_dir: Path) -> float:
    """Train one seed and report it; returns the gain in points of top-1."""
    command = [sys.executable, str(ROOT / 'tools/train.py'), str(ROOT / CONFIG), '--stages', '--demo', '--work-dir']
    begin = time.time()
    subprocess.run([*command, str(work_dir), '--cfg-options', f'randomness.seed={seed}'], check=True)
    minutes = (time.time() - begin) / 60
    first, second = (scalars(folder, 'knn/top1_k20', begin) for folder in (work_dir / 'stage1', work_dir))
    curve = first + second[1:]  # stage 2 begins where stage 1 ended
    gain = curve[-1] - curve[0]
    checkpoint = (work_dir / 'last_checkpoint').read_text().strip()
    views = sorted(work_dir.glob('vis_views/*.png'))[0]
    print(
        f'\nMoCo v2, then HCL, seed {seed}: {minutes:.1f} minutes, kNN every third epoch\n'
        f'  kNN top-1      {curve[0]:.1f} untrained, {first[-1]:.1f} after stage 1, {curve[-1]:.1f} at the end: '
        f'{gain:+.1f} points\n'
        f'  curve          {" ".join(f"{value:.1f}" for value in curve)}\n'
        f'  checkpoint     {checkpoint}\n'
        f'  views          {views}\n',
        flush=True,
    )
    return gain


def scalars(work_dir: Path, name: str, since: float) -> list[float]:
    """The values of one scalar in the newest log of a work dir, in the order of training."""
    files = sorted(work_dir.glob('*/vis_data/scalars.json'), key=lambda path: path.stat().st_mtime)
    lines = (json.loads(line) for line in files[-1].read_text().splitlines())
    return [line[name] for line in lines if name in line]


if __name__ == '__main__':
    sys.exit(main())
