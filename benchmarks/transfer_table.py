"""The comparison the papers make, in the small: a detector on few labelled scenes, from eight kinds of pre-training.

    python benchmarks/transfer_table.py            three seeds, frozen and full: two hours in two processes of a thread
    python benchmarks/transfer_table.py --quick    every row once, full fine-tuning: under an hour on two cores

Pre-training is `tools/train.py CONFIG --demo` (ShapeScenes, a small ResNet) with the same number of epochs for each
row, both stages of a two-stage row counted. Fine-tuning is configs/transfer/scenes_faster_rcnn_fpn.py on exported
scenes. A seed is that of pre-training and fine-tuning both. Every cell that is done is kept in --work-dir and not
repeated, so that several processes may share the cells by seed or row.
"""

import argparse
import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'benchmarks')]

from crop_frameworks import spread  # noqa: E402
from scene_detection import CONFIG, fine_tune, last_checkpoint, make_scenes, run  # noqa: E402

from benchmarks.record import write  # noqa: E402

CCROP = 'configs/contrastive_crop/in1k/mocov2_ccrop.py'
FPN = 'configs/resim/resim_fpn_mocov2_r50.py'
# Name: pre-training config (None: nothing), whether its stage before runs first, config of the detector.
ROWS = {
    'random': (None, False, CONFIG),
    'supervised': ('configs/transfer/scenes_supervised.py', False, CONFIG),
    'MoCo v2': ('configs/mocov2_r50.py', False, CONFIG),
    '+ ContrastiveCrop': (CCROP, False, CONFIG),
    '+ HCL': ('configs/mocov2_hcl_r50.py', True, CONFIG),
    '+ ReSim-FPN': (FPN, False, CONFIG),
    '+ ReSim-FPN^T': (FPN, False, 'configs/transfer/scenes_faster_rcnn_fpn_t.py'),
    'all together': ('configs/resim/mocov2_ccrop_hcl_resim_r50.py', True, CONFIG),
}
TUNING = ('full', 'frozen')
TITLES = dict(full='Full fine-tuning', frozen='Frozen backbone')
COLOURS = {'random': '0.5', 'supervised': '0.75'}
BASELINE = 'MoCo v2'
TESTED = 300


def pretrain(config: str, stages: bool, seed: int, epochs: int, work_dir: Path) -> Path:
    """The checkpoint of one pre-training run, which is not repeated."""
    done = work_dir / 'done'
    if not done.exists():
        supervised = config.endswith('scenes_supervised.py')
        # The stage before has half of --epochs (viewplug/run/demo.py): together they are as long as the others.
        args = ['--epochs', round(epochs / 1.5)] if stages else ['--epochs', epochs]
        args += ['--stages'] if stages else []
        args += [] if supervised else ['--demo']
        run('tools/train.py', config, *args, '--work-dir', work_dir, '--cfg-options', f'randomness.seed={seed}')
        done.touch()
    return last_checkpoint(work_dir)


def cell(name: str, tuning: str, seed: int, args: argparse.Namespace, scenes: Path) -> dict:
    config, stages, detector = ROWS[name]
    checkpoint = None
    if config:
        folder = args.work_dir / f'{Path(config).stem}_{args.epochs}_{seed}'
        checkpoint = pretrain(config, stages, seed, args.epochs, folder)
    label = ''.join(letter if letter.isalnum() else '_' for letter in name)
    folder = f'detect_{label}_{tuning}_{args.epochs}_{args.iterations}_{args.labelled}_{seed}'
    if args.tested != TESTED:
        folder += f'_tested_{args.tested}'
    folder = args.work_dir / folder
    found = fine_tune(scenes, folder, seed, args.iterations, checkpoint, tuning == 'frozen', detector)
    return dict(row=name, tuning=tuning, seed=seed, **found)


def table(cells: list[dict]) -> str:
    """Mean and spread over seeds, and the difference in AP from MoCo v2 of the same seed."""
    lines = []
    for tuning in [tuning for tuning in TUNING if any(one['tuning'] == tuning for one in cells)]:
        mine = [one for one in cells if one['tuning'] == tuning]
        base = {one['seed']: one['ap'] for one in mine if one['row'] == BASELINE}
        lines += [
            f'{TITLES[tuning]}:',
            '',
            '| pre-training | AP | AP50 | AP75 | AP less MoCo v2, same seed | seeds |',
            '|---|---|---|---|---|---|',
        ]
        for name in ROWS:
            row = [one for one in mine if one['row'] == name]
            if row:
                values = ' | '.join(spread([one[key] for one in row]) for key in ('ap', 'ap50', 'ap75'))
                change = [one['ap'] - base[one['seed']] for one in row if one['seed'] in base]
                paired = f'{statistics.mean(change):+.1f}' if change and name != BASELINE else ''
                lines.append(f'| {name} | {values} | {paired} | {len(row)} |')
        lines.append('')
    return '\n'.join(lines).rstrip()


def draw(cells: list[dict], path: Path) -> None:
    """A panel for each way of tuning: a dot a seed, a bar at their mean, a line at random weights' mean."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tunings = [tuning for tuning in TUNING if any(one['tuning'] == tuning for one in cells)]
    names = [name for name in ROWS if any(one['row'] == name for one in cells)]
    figure = Figure(figsize=(9, 0.8 + 0.33 * len(names)), dpi=110, layout='constrained')
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(tunings), sharey=True, squeeze=False)[0]
    for tuning, axes in zip(tunings, panels, strict=True):
        for place, name in enumerate(names):
            values = [one['ap'] for one in cells if (one['row'], one['tuning']) == (name, tuning)]
            if values:
                mean = statistics.mean(values)
                axes.barh(place, mean, height=0.6, color=COLOURS.get(name, '#3b75af'), alpha=0.5)
                axes.plot(values, [place] * len(values), 'o', markersize=4, color='black')
                if name == 'random':
                    axes.axvline(mean, color='0.4', linewidth=1, linestyle='--')
        axes.set(title=TITLES[tuning], xlabel='AP of boxes, COCO', yticks=range(len(names)), xlim=(0, None))
        axes.set_yticklabels(names)
        axes.grid(axis='x', color='0.9')
        axes.set_axisbelow(True)
        axes.spines[['top', 'right']].set_visible(False)
    panels[0].invert_yaxis()
    figure.savefig(path)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--rows', nargs='+', default=list(ROWS), choices=list(ROWS), metavar='ROW', help=', '.join(ROWS)
    )
    parser.add_argument('--tuning', nargs='+', default=list(TUNING), choices=TUNING)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--epochs', type=int, default=36, help='of pre-training, both stages together')
    parser.add_argument('--iterations', type=int, default=300, help='of fine-tuning, 8 images each')
    parser.add_argument('--labelled', type=int, default=200, help='scenes to train the detector on')
    parser.add_argument('--tested', type=int, default=TESTED, help='scenes to test it on')
    parser.add_argument('--quick', action='store_true', help='one seed, full fine-tuning, 6 epochs, 200 iterations')
    parser.add_argument('--work-dir', type=Path, default=ROOT / 'work_dirs/transfer_table')
    parser.add_argument('--out', type=Path, help='default: benchmarks/results/transfer_table[_quick]; a .png too')
    args = parser.parse_args(argv)
    if args.quick:
        args.seeds, args.tuning, args.epochs, args.iterations = args.seeds[:1], ['full'], 6, 200
    args.work_dir = args.work_dir.absolute()
    args.out = args.out or ROOT / f'benchmarks/results/transfer_table{"_quick" * args.quick}'
    return args


def main() -> None:
    args = parse_args()
    scenes = args.work_dir / f'scenes_{args.labelled}_{args.tested}'
    make_scenes(scenes, args.labelled, args.tested)
    cells = []
    for seed in args.seeds:
        for tuning in args.tuning:
            for name in args.rows:
                cells.append(cell(name, tuning, seed, args, scenes))
                setting = {key: getattr(args, key) for key in ('epochs', 'iterations', 'labelled', 'tested')}
                write(args.out, dict(setting=setting, cells=cells), table(cells))
    draw(cells, args.out.with_suffix('.png'))
    print(table(cells))


if __name__ == '__main__':
    main()
