"""How often a checkpoint finds an image's other view in a gallery: HCL's contrastive test.

python tools/contrastive_test.py configs/mocov2_hcl_r50.py work_dirs/mocov2_hcl_r50/epoch_200.pth
python tools/contrastive_test.py CONFIG CHECKPOINT --strengths 0 0.5 1 --dims 64 96 128 full
python tools/contrastive_test.py CONFIG CHECKPOINT --embeddings semantic spatial semantic+spatial backbone
python tools/contrastive_test.py CONFIG CHECKPOINT --compare MoCo=other/contrastive_test/epoch_200.json
python tools/contrastive_test.py CONFIG CHECKPOINT --strengths 1 --views configs/mocov2_r50.py

Views are two crops an image; --strengths above 0 add the config's augmentation (1: as in training), or with --views
that of another one: networks that trained on other views are compared on the same. Writes
contrastive_test/NAME.json beside the checkpoint, and plots: accuracy against the crops' IoU (the paper's figure 2) with
pairs to look at, against the embedding's length (its figure 4) and, for several strengths, against strength.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone works without `pip install -e .`

from viewplug.run.command import output_file, run_tool


def parse_args(argv=None) -> argparse.Namespace:
    from viewplug.config.option_values import OptionAction
    from viewplug.devices import usable_device

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help="a pre-training config, ours or mmpretrain's")
    parser.add_argument('checkpoint', help='a checkpoint of it')
    parser.add_argument(
        '--out', type=Path, help='result file (default: contrastive_test/NAME.json beside the checkpoint)'
    )
    parser.add_argument(
        '--embeddings', nargs='+', help='sources joined by + (default: all of them, and the halves of HCL mixed)'
    )
    parser.add_argument('--dims', nargs='+', type=length, default=[64, 96, 128], help="after PCA; 'full': without")
    parser.add_argument('--gallery', type=int, default=65536, help='images that a query is compared with')
    parser.add_argument(
        '--strengths', nargs='+', type=float, default=[0.0], help='of the augmentation besides the crop'
    )
    parser.add_argument('--views', metavar='CONFIG', help='take data and views from this config (default: its own)')
    parser.add_argument('--own-crops', action='store_true', help="keep ContrastiveCrop, with the checkpoint's boxes")
    parser.add_argument('--num-images', type=int, help='stop after so many (default: all)')
    parser.add_argument('--bins', type=int, default=10, help='of the IoU')
    parser.add_argument('--encoder', choices=('online', 'target'), default='online')
    parser.add_argument('--batch-size', type=int, default=256)
    parser.add_argument('--num-workers', type=int, default=0)
    parser.add_argument('--device', type=usable_device, default='auto', help='default: a GPU if there is one')
    parser.add_argument('--seed', type=int, default=0, help='of the order and the views')
    parser.add_argument('--label', help='in the plots (default: name of the config)')
    parser.add_argument('--compare', nargs='+', default=[], metavar='LABEL=JSON', help='other results for the plots')
    parser.add_argument('--data-root', metavar='DIR', help='test on images below DIR instead of the training data')
    parser.add_argument('--demo', action='store_true', help='the checkpoint is of tools/train.py --demo')
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, default={}, help='KEY=VALUE overrides')
    return parser.parse_args(argv)


def length(value: str) -> int | None:
    return None if value == 'full' else int(value)


def main(argv=None) -> int:
    return run_tool(run, parse_args, ('mmengine', 'mmcv', 'mmpretrain'), argv)


def run(args: argparse.Namespace) -> dict:
    """
    Raises:
        UserError, ValueError, FileNotFoundError: with a sentence for the user.
    """
    from mmengine.registry import init_default_scope

    from viewplug.evaluation.borrowed_views import with_views_of
    from viewplug.evaluation.embeddings import choose, sources_of
    from viewplug.evaluation.trained_model import trained_model
    from viewplug.run.launch import UserError, check_data, read_config

    if args.num_images is not None and args.num_images < 1:
        raise UserError(f'--num-images must be at least 1, got {args.num_images}')
    training = dict(epochs=None, amp=None, launcher='none', work_dir=None)
    options = {**args.cfg_options, 'in_memory': False}  # a data set may be larger than memory
    cfg = read_config(args.config, argparse.Namespace(**{**vars(args), **training, 'cfg_options': options}))
    seen = cfg
    if args.views:
        options = {key: value for key, value in options.items() if key.split('.')[0] != 'model'}
        other = read_config(args.views, argparse.Namespace(**{**vars(args), **training, 'cfg_options': options}))
        seen = with_views_of(cfg, other)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    others = [comparison(text) for text in args.compare]
    check_data(seen)
    model, checkpoint = trained_model(cfg, args.checkpoint)
    model.to(args.device).eval()
    out = args.out or Path(args.checkpoint).parent / 'contrastive_test' / f'{Path(args.checkpoint).stem}.json'
    out = output_file(out)  # before a gallery is embedded
    embeddings = choose(args.embeddings, sources_of(model, args.encoder))
    results, pairs = [], []
    for strength in args.strengths:
        found, examples = test(seen, model, checkpoint, embeddings, strength, args)
        results.append(dict(strength=strength, **found))
        pairs = pairs or examples  # the plots over IoU and length show the first strength
    report = dict(
        label=args.label or Path(args.config).stem,
        config=args.config,
        checkpoint=args.checkpoint,
        encoder=args.encoder,
        seed=args.seed,
        views=args.views or args.config,
        crops='own' if args.own_crops else 'random',
        results=results,
    )
    out.write_text(json.dumps(report, indent=1))
    drawn = draw(out, report, others, pairs)
    say(report, others)
    print(f'{out}; {", ".join(path.name for path in drawn)} beside it')
    return report


def test(cfg, model, checkpoint, embeddings, strength, args):
    """One pass over the images: the result, and some of the last pairs as (view, view, IoU, rank)."""
    import torch

    from viewplug.evaluation.contrastive_test import ContrastiveTest
    from viewplug.evaluation.embeddings import embed
    from viewplug.evaluation.provenance import digest_of
    from viewplug.evaluation.view_pairs import ViewPairs
    from viewplug.visualization.gallery import rgb_pixels

    views = ViewPairs(cfg, strength, args.own_crops, args.device, args.batch_size, args.num_workers, args.seed)
    if args.own_crops and 'localization' in checkpoint and not views.restore_boxes(checkpoint):
        print("--own-crops: the boxes of the checkpoint are of other images; crops are RandomResizedCrop's")
    total = min(args.num_images or len(views), len(views))
    judge = ContrastiveTest(embeddings, args.dims, min(args.gallery, total), args.bins)
    done, read, last = 0, 0, ()
    for first, second, geometry in views:
        read += len(first)
        size = min(len(first), total - done)
        first, second = first[:size], second[:size]
        iou = None if geometry is None else geometry.iou(0, 1)[:size].cpu()
        with torch.no_grad():
            judge.add(embed(model, first, args.encoder), embed(model, second, args.encoder), iou)
        done, last = done + size, (first, second, iou)
        if done >= total:
            break
    unreadable = views.asked - read
    if not done:
        raise ValueError(f'none of the {views.asked} images can be read, so there is nothing to test')
    result = dict(images=done, unreadable=unreadable, gallery=judge.gallery_images, embeddings=judge.result())
    result['views'] = digest_of(views.steps)
    pixels_of = partial(rgb_pixels, preprocessor=views.preprocessor, cfg=cfg)
    return result, pairs_to_draw(*last, judge.latest_ranks[judge.cells[0]], pixels_of)


def pairs_to_draw(first, second, iou, ranks, pixels_of, most: int = 6) -> list[tuple]:
    """Pairs of the last batch spread over the IoU, as (pixels (3, H, W) in [0, 1] twice, IoU, rank), RGB."""
    import torch

    if iou is None:
        return []
    number = min(len(ranks), len(first))
    views = [view[-number:].cpu() for view in (first, second)]
    iou, ranks = iou[-number:], ranks[-number:]
    order = iou.argsort(descending=True)
    picked = order[torch.linspace(0, number - 1, min(most, number)).round().long()]
    pixels = [pixels_of(view[picked]) for view in views]
    return list(zip(*pixels, iou[picked].tolist(), ranks[picked].tolist(), strict=True))


def comparison(text: str) -> dict:
    """``LABEL=JSON`` as a report of that label."""
    from viewplug.run.launch import UserError

    label, _, path = text.rpartition('=')
    if not Path(path).is_file():
        raise UserError(f'--compare {text}: no file {Path(path).resolve()}')
    try:
        report = json.loads(Path(path).read_text())
        if not all({'strength', 'embeddings'} <= result.keys() for result in report['results']):
            raise KeyError('embeddings')
        return {**report, 'label': label or report['label']}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f' ({error})' if isinstance(error, ValueError) else ''
        raise UserError(
            f'--compare {text}: {path} is no result of tools/contrastive_test.py{reason}; give the JSON file that it '
            'wrote, contrastive_test/NAME.json beside the checkpoint'
        ) from error


def draw(out: Path, report: dict, others: list[dict], pairs) -> list[Path]:
    from viewplug.visualization.contrastive_plots import plot_iou, plot_lengths, plot_strengths

    drawn = []
    reports = [report, *others]
    figures = dict(iou=plot_iou(reports, pairs), lengths=plot_lengths(reports), strengths=plot_strengths(reports))
    for name, figure in figures.items():
        if figure is not None:
            drawn.append(out.with_name(f'{out.stem}_{name}.png'))
            figure.savefig(drawn[-1])
    return drawn


def say(report: dict, others: list[dict]) -> None:
    views = {result['strength']: result['views'] for result in report['results']}
    for other in others:
        kept = [(result['strength'], result['views']) for result in other['results'] if 'views' in result]
        apart = [strength for strength, digest in kept if views.get(strength, digest) != digest]
        if apart:
            print(f'{other["label"]} was tested on other views at strength {apart}: test both with one --views CONFIG')
    for result in report['results']:
        left_out = f' ({result["unreadable"]} more cannot be read: left out)' if result['unreadable'] else ''
        strength = result['strength']
        print(f'{result["images"]} images{left_out}, gallery {result["gallery"]}, augmentation strength {strength}')
        for name, lengths in result['embeddings'].items():
            for dim, cell in lengths.items():
                tops = ', '.join(
                    f'{top.replace("top", "top-")} {value["accuracy"]:.2f} ({value["low"]:.2f} to {value["high"]:.2f})'
                    for top, value in cell.items()
                    if top.startswith('top')
                )
                print(f'  {name}, {dim}: {tops}')


if __name__ == '__main__':
    sys.exit(main())
