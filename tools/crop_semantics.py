"""Class score of crops against the distance between two views: ContrastiveCrop's figure 4, for RandomCrop and for it.

python tools/crop_semantics.py CONFIG CHECKPOINT --scorer resnet50                        # torchvision, its own weights
python tools/crop_semantics.py CONFIG CHECKPOINT --scorer resnet50 weights.pth            # or those of a file
python tools/crop_semantics.py CONFIG CHECKPOINT --scorer classifier.py classifier.pth    # mmpretrain's classifiers

The pre-training CHECKPOINT finds the boxes, the supervised network judges the crops. Images come from the config;
where they have no label, or with --predicted, the class is what the scorer sees in the whole image. Writes
crop_semantics_test/NAME.json and NAME.png beside the checkpoint, where tools/report.py finds them.
"""

import argparse
import json
import sys
from pathlib import Path
from textwrap import shorten

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone works without `pip install -e .`

from viewplug.run.command import output_file, run_tool

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of torchvision's ImageNet classifiers, RGB


def parse_args(argv=None) -> argparse.Namespace:
    from viewplug.config.option_values import OptionAction
    from viewplug.devices import usable_device

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help="a pre-training config, ours or mmpretrain's")
    parser.add_argument('checkpoint', help='a checkpoint of it')
    parser.add_argument('--scorer', nargs='+', required=True, metavar='NAME_OR_CONFIG [WEIGHTS]')
    parser.add_argument('--predicted', action='store_true', help='classes are what the scorer sees in whole images')
    parser.add_argument('--out', type=Path, help='result file')
    parser.add_argument('--num', type=int, default=256, help='images, spread evenly over the data set')
    parser.add_argument('--pairs', type=int, default=8, help='of each image and kind of crop')
    parser.add_argument('--bins', type=int, default=8, help='of the distance')
    parser.add_argument('--threshold', type=float, default=0.1, help='k of the boxes')
    parser.add_argument('--alpha', type=float, help="of the crops' centres (default: that of the config, else 0.6)")
    parser.add_argument(
        '--channel-order',
        choices=('bgr', 'rgb'),
        help='of the images as loaded (default: as the config says)',
    )
    parser.add_argument('--seed', type=int, default=0, help='of the crops')
    parser.add_argument('--device', type=usable_device, default='auto', help='default: a GPU if there is one')
    parser.add_argument('--data-root', metavar='DIR', help='images below DIR instead of the training data')
    parser.add_argument('--demo', action='store_true', help='the checkpoint is of tools/train.py --demo')
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, default={}, help='KEY=VALUE overrides')
    return parser.parse_args(argv)


def main(argv=None) -> int:
    return run_tool(run, parse_args, ('mmengine', 'mmcv', 'mmpretrain'), argv)


def run(args: argparse.Namespace) -> None:
    """
    Raises:
        UserError, ValueError, FileNotFoundError: with a sentence for the user.
    """
    import numpy as np
    import torch
    from mmengine.registry import init_default_scope

    from viewplug.evaluation.crop_images import images_and_crop
    from viewplug.evaluation.crop_semantics import CropPairs, judge_crops, score_by_distance
    from viewplug.evaluation.localization import localise_batches
    from viewplug.evaluation.trained_model import trained_model
    from viewplug.run.launch import UserError, read_config
    from viewplug.visualization.box_sheet import order_as_loaded
    from viewplug.visualization.contrastive_plots import plot_semantics

    for name in ('num', 'pairs', 'bins'):
        if getattr(args, name) < 1:
            raise UserError(f'--{name} must be at least 1, got {getattr(args, name)}')
    if args.out and args.out.suffix == '.png':
        raise UserError(f'--out {args.out} is the name of the plot: give that of the result, NAME.json')
    training = dict(epochs=None, amp=None, launcher='none', work_dir=None)
    options = {**args.cfg_options, 'in_memory': False, 'views': 'sample'}
    # The folder of images takes the place of the data set below.
    asked = {**vars(args), **training, 'cfg_options': options, 'data_root': None}
    cfg = read_config(args.config, argparse.Namespace(**asked))
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    model, _ = trained_model(cfg, args.checkpoint)
    model.to(args.device)
    out = args.out or Path(args.checkpoint).parent / 'crop_semantics_test' / f'{Path(args.checkpoint).stem}.json'
    out = output_file(out)
    images, crop = images_and_crop(cfg, args.data_root, args.alpha)
    scorer = build_scorer(args.scorer, args.channel_order or order_as_loaded(model.data_preprocessor, cfg))
    scorer.model.to(args.device)  # mmengine's models tell their data_preprocessor, if asked themselves
    picked = np.linspace(0, len(images) - 1, min(args.num, len(images))).round().astype(int).tolist()
    done = 0
    parts: dict[str, list[CropPairs]] = {}
    for start in range(0, len(picked), 32):
        indices = picked[start : start + 32]
        loaded = [images[index] for index in indices]
        read = [(index, image) for index, (image, readable) in zip(indices, loaded, strict=True) if readable]
        if not read:
            continue
        done += len(read)
        pixels = torch.stack([image for _, image in read])
        (batch,) = localise_batches(model, [(pixels, torch.ones(len(read), dtype=bool))], args.threshold)
        pixels = pixels.to(args.device)
        infos = [images.leaf.get_data_info(index) for index, _ in read]
        if args.predicted or any('gt_label' not in info for info in infos):
            labels = scorer(pixels.float())[0].argmax(dim=1)
        else:
            named, told = len(images.leaf.metainfo.get('classes') or ()), scorer(pixels[:1].float())[0].shape[1]
            if named and named != told:
                raise UserError(
                    f'the images are of {named} classes and the scorer tells {told}: with --predicted they have '
                    'the class that it sees in them'
                )
            labels = torch.tensor([int(info['gt_label']) for info in infos], device=args.device)
        boxes = batch.found.boxes.cpu()
        for name, pairs in judge_crops(scorer, pixels, labels, boxes, crop, args.pairs, args.seed + start).items():
            parts.setdefault(name, []).append(pairs)
    unreadable = len(picked) - done
    if not done:
        raise UserError(
            f'none of the {len(picked)} images picked can be read, so there is nothing to judge: raise --num, or set '
            '--data-root to images that can be read'
        )
    found = {
        name: CropPairs(*(torch.cat([getattr(p, kind) for p in pairs]) for kind in ('scores', 'distances')))
        for name, pairs in parts.items()
    }
    ways = {
        name: dict(score=float(pairs.scores.mean()), distance=float(pairs.distances.mean()), n=len(pairs.scores))
        for name, pairs in found.items()
    }
    report = dict(
        config=args.config,
        checkpoint=args.checkpoint,
        scorer=args.scorer,
        alpha=crop.alpha,
        seed=args.seed,
        images=done,
        unreadable=unreadable,
        ways=ways,
        by_distance=score_by_distance(found, args.bins),
    )
    out.write_text(json.dumps(report, indent=1))
    plot_semantics(report).savefig(out.with_suffix('.png'))
    for name, way in ways.items():
        print(f'{name}: class score {way["score"]:.3f}, distance of views {way["distance"]:.3f}, {way["n"]} pairs')
    left_out = f' ({unreadable} more cannot be read: left out)' if unreadable else ''
    print(f'{done} images{left_out}')
    print(f'{out}; {out.with_suffix(".png").name} beside it')


def build_scorer(names: list[str], channel_order: str):
    """A LinearScorer on whole-range pixels in the order in which images are loaded."""
    import torch
    import torchvision
    from mmengine import Config

    from viewplug.evaluation.crop_semantics import LinearScorer
    from viewplug.evaluation.trained_model import trained_model
    from viewplug.run.launch import UserError
    from viewplug.transfer.checkpoint import read_checkpoint, weights_of

    if len(names) > 2 or (names[0].endswith('.py') and len(names) < 2):
        raise UserError(f'--scorer takes a torchvision name and perhaps weights, or a config and weights, got {names}')
    if names[0].endswith('.py'):
        if not Path(names[0]).is_file():
            raise UserError(f'--scorer: no file {Path(names[0]).resolve()}')
        model, _ = trained_model(Config.fromfile(names[0]), names[1])

        def logits(images):
            inputs = model.data_preprocessor(dict(inputs=images, data_samples=None), False)['inputs']
            return (
                model(inputs, mode='tensor') if not hasattr(model, 'head') else model.head(model.extract_feat(inputs))
            )

        return LinearScorer(logits, model)
    if names[0] not in torchvision.models.list_models(module=torchvision.models):
        raise UserError(f'--scorer {names[0]}: neither a config (.py) nor a classifier of torchvision')
    if len(names) == 2:
        model = torchvision.models.get_model(names[0], weights=None)
        if not Path(names[1]).is_file():
            raise UserError(f'--scorer: no file {Path(names[1]).resolve()}')
        try:
            model.load_state_dict(weights_of(read_checkpoint(names[1])))
        except RuntimeError as error:
            reason = shorten(str(error), 200, placeholder=' ...')
            raise UserError(f'--scorer {names[0]}: {names[1]} has not its weights ({reason})') from error
    else:
        try:
            model = torchvision.models.get_model(names[0], weights='DEFAULT')
        except OSError as error:
            raise UserError(f'--scorer {names[0]}: no download of its weights ({error}); name their file too') from None
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))

    def logits(images):
        images = images.flip(1) if channel_order == 'bgr' else images
        return model((images - mean.to(images.device)) / std.to(images.device))

    return LinearScorer(logits, model)


if __name__ == '__main__':
    sys.exit(main())
