"""`make transfer-demo`: does pre-training help a detector that sees few labels?

    python benchmarks/transfer_demo.py [--seeds 0 1] [--checkpoint work_dirs/demo/seed_0/epoch_24.pth] [--out PATH]

A small Faster R-CNN with FPN (configs/transfer/scenes_faster_rcnn_fpn.py) is trained on a few labelled scenes, once
from the checkpoint of `make demo` (made here if it is not there) and once from random weights, with the same seeds;
pycocotools evaluates. It prints the table with the paired difference and draws the boxes of both on a sheet. What
is done is not repeated; the time is that of this call. Results go to PATH.json and PATH.md, by default in --work-dir.
"""

import argparse
import resource
import statistics
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'benchmarks')]

from scene_detection import CONFIG, fine_tune, last_checkpoint, make_scenes, run  # noqa: E402

from benchmarks.record import write  # noqa: E402
from viewplug.transfer.checkpoint import read_checkpoint, weights_of  # noqa: E402


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1])
    parser.add_argument('--iterations', type=int, default=400, help='of fine-tuning, 8 images each')
    parser.add_argument('--labelled', type=int, default=200, help='scenes to train on')
    parser.add_argument('--tested', type=int, default=300, help='scenes to test on')
    parser.add_argument('--checkpoint', type=Path, help='of a --demo run (default: that of make demo, seed 0)')
    parser.add_argument('--work-dir', type=Path, default=ROOT / 'work_dirs/transfer_demo')
    parser.add_argument(
        '--out', type=Path, help='path of the results, without suffix (default: WORK_DIR/transfer_demo)'
    )
    args = parser.parse_args(argv)
    begin, work_dir = time.time(), args.work_dir.absolute()
    out = args.out or work_dir / 'transfer_demo'
    checkpoint = args.checkpoint.absolute() if args.checkpoint else pretrained()
    scenes = work_dir / f'scenes_{args.labelled}_{args.tested}'
    make_scenes(scenes, args.labelled, args.tested)
    rows, folders = [], []
    for seed in args.seeds:
        for start, weights in (('random', None), ('pre-trained', checkpoint)):
            folders.append(work_dir / f'{start}_{args.labelled}_{args.iterations}_{seed}')
            rows.append(dict(start=start, seed=seed, **fine_tune(scenes, folders[-1], seed, args.iterations, weights)))
    sheet = draw(scenes, folders[:2], work_dir / 'boxes.png', count=min(6, args.tested))
    cost = dict(
        threads=torch.get_num_threads(),
        minutes=round((time.time() - begin) / 60, 1),
        processor_minutes=round(processor_seconds() / 60, 1),
        fine_tuned=sum((folder / 'detection.json').stat().st_mtime >= begin for folder in folders),
    )
    setting = dict(iterations=args.iterations, labelled=args.labelled, tested=args.tested)
    result = dict(setting=dict(setting, **cost), checkpoint=named(checkpoint), rows=rows)
    text = f'{table(rows)}\n\n{verdict(rows)}\n'
    write(out, result, text)
    print(f'\n{text}boxes        {sheet}\nresults      {out}.json, {out}.md')
    print(
        f'{cost["minutes"]} minutes, {cost["processor_minutes"]} of a processor at {cost["threads"]} threads; '
        f'{cost["fine_tuned"]} of {len(rows)} detectors trained in this call'
    )


def processor_seconds() -> float:
    """Of this process and of those that it has run."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def named(path: Path) -> str:
    """Below this repository as seen from there."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def pretrained() -> Path:
    """The checkpoint of `make demo`, MoCo v2 and then HCL; four minutes on two cores where it is missing."""
    folder = ROOT / 'work_dirs/demo/seed_0'
    if not (folder / 'last_checkpoint').exists():
        run('tools/demo.py')
    return last_checkpoint(folder)


def table(rows: list[dict]) -> str:
    lines = ['| seed | start | AP | AP50 | AP75 |', '|---|---|---|---|---|']
    lines += [f'| {r["seed"]} | {r["start"]} | {r["ap"]:.1f} | {r["ap50"]:.1f} | {r["ap75"]:.1f} |' for r in rows]
    for seed, change in differences(rows).items():
        lines.append(f'| {seed} | difference | {" | ".join(f"{change[key]:+.1f}" for key in ("ap", "ap50", "ap75"))} |')
    return '\n'.join(lines)


def differences(rows: list[dict]) -> dict[int, dict[str, float]]:
    """Pre-trained less random, for each seed."""
    found = {(row['seed'], row['start']): row for row in rows}
    return {
        seed: {key: found[seed, 'pre-trained'][key] - found[seed, 'random'][key] for key in ('ap', 'ap50', 'ap75')}
        for seed in dict.fromkeys(row['seed'] for row in rows)
    }


def verdict(rows: list[dict]) -> str:
    """Who won, in a line."""
    changes = [change['ap'] for change in differences(rows).values()]
    mean, ahead = statistics.mean(changes), sum(change > 0 for change in changes)
    winner = 'pre-trained' if mean > 0 else 'random' if mean < 0 else 'nobody'
    return f'{winner} wins: {mean:+.1f} AP on average, pre-trained ahead in {ahead} of {len(changes)} seeds'


def draw(scenes: Path, folders: list[Path], path: Path, count: int = 6, threshold: float = 0.3) -> Path:
    """The first test scenes: a row of labels, then a row of detections for each run."""
    import mmcv
    import numpy as np
    from mmengine import Config
    from mmengine.registry import DefaultScope
    from pycocotools.coco import COCO

    from viewplug.registry import MODELS

    coco = COCO(scenes / 'annotations/instances_val.json')
    images = [mmcv.imread(scenes / 'val' / coco.imgs[index]['file_name']) for index in range(count)]
    truth = [
        np.array([[x, y, x + w, y + h] for x, y, w, h in (one['bbox'] for one in coco.imgToAnns[index])])
        for index in range(count)
    ]
    rows = [[boxed(image, boxes, 'white') for image, boxes in zip(images, truth, strict=True)]]
    cfg = Config.fromfile(ROOT / CONFIG)
    for folder in folders:
        with DefaultScope.overwrite_default_scope('mmdet'):
            model = MODELS.build(cfg.model).eval()
        model.load_state_dict(weights_of(read_checkpoint(last_checkpoint(folder))))
        rows.append([boxed(image, detect(model, image, threshold), 'green') for image in images])
    mmcv.imwrite(np.concatenate([np.concatenate(row, 1) for row in rows], 0), str(path))
    return path


def detect(model, image, threshold: float):
    """Boxes (n, 4) above a score, in pixels of ``image``."""
    from mmdet.structures import DetDataSample

    sample = DetDataSample(metainfo=dict(img_shape=image.shape[:2], ori_shape=image.shape[:2], scale_factor=(1.0, 1.0)))
    with torch.no_grad():
        data = dict(inputs=[torch.from_numpy(image.transpose(2, 0, 1).copy())], data_samples=[sample])
        found = model.test_step(data)[0].pred_instances
    return found.bboxes[found.scores > threshold].numpy()


def boxed(image, boxes, color: str):
    """The image three times as large, with boxes and a margin."""
    import mmcv
    import numpy as np

    large = mmcv.imresize(image, (3 * image.shape[1], 3 * image.shape[0]), interpolation='nearest')
    if len(boxes):
        large = mmcv.imshow_bboxes(large, 3 * np.asarray(boxes, np.float32), colors=color, thickness=2, show=False)
    return np.pad(large, ((2, 2), (2, 2), (0, 0)), constant_values=255)


if __name__ == '__main__':
    main()
