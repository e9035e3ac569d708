"""A small detector fine-tuned on exported scenes, from a checkpoint or from nothing: one run, one row."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from mmengine import Config

ROOT = Path(__file__).resolve().parents[1]
CONFIG = 'configs/transfer/scenes_faster_rcnn_fpn.py'
SCENES = ['--size', '64', '--objects', '1', '3', '--scale', '0.2', '0.4']
METRICS = dict(ap='coco/bbox_mAP', ap50='coco/bbox_mAP_50', ap75='coco/bbox_mAP_75')


def make_scenes(folder: Path, num_train: int, num_val: int) -> None:
    """Few labelled scenes to train on and more to test on, as PNG files and COCO's json."""
    for split, count in (('train', num_train), ('val', num_val)):
        run('tools/make_scenes.py', folder, *SCENES, '--num-images', count, '--split', split)


def fine_tune(
    scenes: Path,
    work_dir: Path,
    seed: int,
    iterations: int,
    checkpoint: Path | None = None,
    frozen: bool = False,
    config: str = CONFIG,
) -> dict[str, float]:
    """Train the detector and return AP, AP50 and AP75 in percent; a run of the same setting is not repeated."""
    result = work_dir / 'detection.json'
    setting = setting_of(scenes, seed, iterations, checkpoint, frozen, config)
    if result.exists():
        row = json.loads(result.read_text())
        kept = row.pop('setting', None)
        if kept == setting:
            return row
        print(f'{work_dir} holds a result of another setting and is run anew', flush=True)
    options = [
        f'randomness.seed={seed}',
        f'iterations={iterations}',
        f'train_cfg.max_iters={iterations}',
        f'train_cfg.val_interval={iterations}',
        f'default_hooks.checkpoint.interval={iterations}',
        f'param_scheduler.1.end={iterations}',
        f'param_scheduler.1.milestones=[{iterations * 3 // 4},{iterations * 11 // 12}]',
        f'train_dataloader.dataset.data_root={scenes}/',
        f'val_dataloader.dataset.data_root={scenes}/',
        f'test_dataloader.dataset.data_root={scenes}/',
        f'val_evaluator.ann_file={scenes}/annotations/instances_val.json',
        f'test_evaluator.ann_file={scenes}/annotations/instances_val.json',
    ]
    if frozen:
        options.append('model.backbone.frozen_stages=3')
    init = ['--init', checkpoint] if checkpoint else []
    run('tools/train.py', config, *init, '--work-dir', work_dir, '--cfg-options', *options)
    scalars = sorted(work_dir.glob('*/vis_data/scalars.json'), key=lambda path: path.stat().st_mtime)
    lines = [json.loads(line) for line in scalars[-1].read_text().splitlines()]
    last = next(line for line in reversed(lines) if METRICS['ap'] in line)
    row = {name: round(100 * last[key], 1) for name, key in METRICS.items()}
    result.write_text(json.dumps(dict(row, setting=setting)))
    return row


def setting_of(
    scenes: Path, seed: int, iterations: int, checkpoint: Path | None, frozen: bool, config: str
) -> dict[str, object]:
    """All that a result depends on: scenes as they were drawn, the checkpoint and the detector's config by content."""
    return dict(
        scenes=[json.loads((scenes / f'annotations/options_{split}.json').read_text()) for split in ('train', 'val')],
        seed=seed,
        iterations=iterations,
        checkpoint=hashlib.sha256(checkpoint.read_bytes()).hexdigest() if checkpoint else None,
        frozen=frozen,
        config=config,
        config_sha256=hashlib.sha256(Config.fromfile(ROOT / config).pretty_text.encode()).hexdigest(),
    )


def last_checkpoint(work_dir: Path) -> Path:
    return Path((work_dir / 'last_checkpoint').read_text().strip())


def run(script: str, *args: object) -> None:
    subprocess.run([sys.executable, str(ROOT / script), *map(str, args)], check=True, cwd=ROOT)
