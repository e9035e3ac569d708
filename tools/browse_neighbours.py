"""What a checkpoint takes for alike: a PNG sheet of images with their nearest neighbours.

python tools/browse_neighbours.py CONFIG CHECKPOINT
python tools/browse_neighbours.py CONFIG CHECKPOINT --embedding semantic --num 12 --out sheet.png
python tools/browse_neighbours.py CONFIG CHECKPOINT --data-root /path/to/images

Images are whole, those of the config's KNNHook (queries from its val data, neighbours from its train data), else, and
with --data-root, training images among each other. Without --out the sheet goes to vis_neighbours/ beside the
checkpoint, where tools/report.py finds it.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a clone works without `pip install -e .`

from viewplug.run.command import output_file, run_tool


def parse_args(argv=None) -> argparse.Namespace:
    from viewplug.config.option_values import OptionAction
    from viewplug.devices import usable_device

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help="a pre-training config, ours or mmpretrain's")
    parser.add_argument('checkpoint', help='a checkpoint of it')
    parser.add_argument('--out', type=Path, help='the sheet (default: vis_neighbours/NAME.png beside the checkpoint)')
    parser.add_argument('--embedding', default='backbone', help='sources joined by + (default: backbone)')
    parser.add_argument('--encoder', choices=('online', 'target'), default='online')
    parser.add_argument('--num', type=int, default=8, help='queries, spread evenly over the data set')
    parser.add_argument('--neighbours', type=int, default=8, help='of each')
    parser.add_argument('--bank', type=int, default=10000, help='images that are searched, spread evenly, at most')
    parser.add_argument('--batch-size', type=int, default=250)
    parser.add_argument('--device', type=usable_device, default='auto', help='default: a GPU if there is one')
    parser.add_argument('--data-root', metavar='DIR', help='images below DIR instead')
    parser.add_argument('--demo', action='store_true', help='the checkpoint is of tools/train.py --demo')
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, default={}, help='KEY=VALUE overrides')
    return parser.parse_args(argv)


def main(argv=None) -> int:
    return run_tool(browse, parse_args, ('mmengine', 'mmcv', 'mmpretrain'), argv)


def browse(args: argparse.Namespace) -> None:
    """
    Raises:
        UserError, ValueError, FileNotFoundError: with a sentence for the user.
    """
    import torch
    from mmengine.registry import init_default_scope

    from viewplug.evaluation.classes import check_classes
    from viewplug.evaluation.embeddings import choose, sources_of
    from viewplug.evaluation.knn import nearest
    from viewplug.evaluation.trained_model import trained_model
    from viewplug.run.launch import UserError, check_data, read_config
    from viewplug.visualization.gallery import rgb_pixels
    from viewplug.visualization.neighbour_sheet import draw_neighbours

    for name in ('num', 'neighbours', 'bank', 'batch_size'):
        if getattr(args, name) < 1:
            raise UserError(f'--{name.replace("_", "-")} must be at least 1, got {getattr(args, name)}')
    training = dict(epochs=None, amp=None, launcher='none', work_dir=None)
    options = {**args.cfg_options, 'in_memory': False}
    cfg = read_config(args.config, argparse.Namespace(**{**vars(args), **training, 'cfg_options': options}))
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    hooks = [hook for hook in cfg.get('custom_hooks') or [] if str(hook.get('type')).endswith('KNNHook')]
    knn = hooks[0] if hooks and not args.data_root else None
    if knn is None:
        check_data(cfg)
    model, _ = trained_model(cfg, args.checkpoint)
    model.to(args.device).eval()
    out = args.out or Path(args.checkpoint).parent / 'vis_neighbours' / f'{Path(args.checkpoint).stem}.png'
    out = output_file(out)
    sources = choose([args.embedding], sources_of(model, args.encoder))[args.embedding]
    bank = images_of(knn.train_dataloader.dataset if knn else None, cfg)
    queries = images_of(knn.val_dataloader.dataset, cfg) if knn else bank
    check_classes(bank, queries)
    bank_rows, bank_features, bank_labels = read(model, bank, spread(len(bank), args.bank), sources, args, 'the bank')
    wanted_rows = spread(len(queries), args.num) if knn else [bank_rows[k] for k in spread(len(bank_rows), args.num)]
    query_rows, features, labels = read(model, queries, wanted_rows, sources, args, 'the queries')
    own = knn is None  # the nearest image of a bank that holds the query is the query
    wanted = min(args.neighbours, len(bank_rows) - own)
    if wanted < 1:
        raise UserError(f'the bank has {len(bank_rows)} image(s), none to be a neighbour; raise --bank')
    places = torch.arange(len(bank_rows))
    similarity, found = nearest(features, bank_features, places, wanted + own)
    if own:
        others = torch.stack(
            [row != place for row, place in zip(found, query_places(query_rows, bank_rows), strict=True)]
        )
        keep = others.int().sort(dim=1, descending=True, stable=True).indices[:, :wanted].sort(dim=1).values
        similarity, found = similarity.gather(1, keep), found.gather(1, keep)

    def pixels(dataset, indices):
        data = model.data_preprocessor(batch_of([dataset[index] for index in indices]), False)['inputs']
        data = data[0] if isinstance(data, list | tuple) else data
        return rgb_pixels(data.cpu(), model.data_preprocessor, cfg)

    near = torch.stack([pixels(bank, [bank_rows[place] for place in row]) for row in found.tolist()])
    classes = getattr(queries, 'metainfo', {}).get('classes')
    near_labels = None if bank_labels is None else bank_labels[found]
    sheet = draw_neighbours(pixels(queries, query_rows), near, similarity, labels, near_labels, classes)
    sheet.save(out)
    same = ''
    if labels is not None and near_labels is not None:
        same = f', {float((near_labels == labels[:, None]).float().mean()):.0%} of the neighbours of the same class'
    print(f'{out}: {len(query_rows)} images, {wanted} neighbours each among {len(bank_rows)}{same}')


def images_of(dataset: dict | None, cfg):
    """Whole images, one size: a data set of the KNNHook's, or the training data without their views."""
    from mmengine.dataset import Compose

    from viewplug.config.training_data import leaf_configs
    from viewplug.datasets.leaves import leaf_datasets
    from viewplug.registry import DATASETS

    if dataset is not None:
        built = DATASETS.build(dataset)
        built.full_init()
        return built
    leaf = leaf_configs(cfg.train_dataloader.dataset)[0]
    steps = leaf.get('pipeline', [])
    names = [str(step['type']).split('.')[-1] for step in steps]
    ends = [place for place, name in enumerate(names) if name in ('MultiView', 'PackInputs')]
    built = leaf_datasets(DATASETS.build(cfg.train_dataloader.dataset))[0]
    size = view_size(cfg)
    after = [dict(type='Resize', scale=size[::-1]), dict(type='PackInputs')]
    built.pipeline = Compose([*steps[: min(ends, default=len(steps))], *after])
    return built


def view_size(cfg) -> tuple[int, int]:
    """Height, width of the first view."""
    from viewplug.config.model_config import preprocessor_config
    from viewplug.config.training_data import leaf_configs

    makers = [preprocessor_config(cfg), *leaf_configs(cfg.train_dataloader.dataset)[0].get('pipeline', [])]
    for maker in makers:
        if str(maker.get('type')).endswith(('MultiView', 'BatchViews')):
            for step in maker['transforms'][0]:
                if 'scale' in step:
                    scale = step['scale']
                    return (scale, scale) if isinstance(scale, int) else tuple(scale)
    raise ValueError('the config says no size of its views: there is no MultiView with a crop in its train pipeline')


def spread(total: int, most: int) -> list[int]:
    """Indices, evenly spaced."""
    import numpy as np

    return np.linspace(0, total - 1, min(most, total)).round().astype(int).tolist()


def query_places(query_rows: list[int], bank_rows: list[int]) -> list[int]:
    return [bank_rows.index(row) for row in query_rows]


def read(model, dataset, rows: list[int], sources, args, where: str):
    """The rows that can be read, their embeddings (N, D), unit parts side by side, and labels or None."""
    import torch

    from viewplug.evaluation.embeddings import embed
    from viewplug.evaluation.image_sizes import one_size
    from viewplug.evaluation.stand_ins import is_stand_in, left_out, marked

    kept, features, labels, images = [], [], [], marked(dataset)
    for start in range(0, len(rows), args.batch_size):
        chosen = {row: images[row] for row in rows[start : start + args.batch_size]}
        chosen = {row: sample for row, sample in chosen.items() if not is_stand_in(sample.get('data_samples'))}
        if not chosen:
            continue
        with one_size('dataset.pipeline of the KNNHook'):
            batch = batch_of(list(chosen.values()))
        inputs = model.data_preprocessor(batch, False)['inputs']
        found = embed(model, inputs[0] if isinstance(inputs, list | tuple) else inputs, args.encoder)
        features.append(torch.cat([found[source] for source in sources], dim=1).cpu())
        labels += [int(sample['data_samples'].get('gt_label', -1)) for sample in chosen.values()]
        kept += chosen
    if len(kept) < len(rows):
        sentence = left_out(len(rows) - len(kept), len(rows), where)
        if not kept:
            raise ValueError(f'{sentence}, and there is no other')
        print(sentence)
    known = torch.tensor(labels)
    return kept, torch.cat(features), known if (known >= 0).all() else None


def batch_of(samples: list[dict]) -> dict:
    import torch

    return dict(inputs=torch.stack([sample['inputs'] for sample in samples]), data_samples=None)


if __name__ == '__main__':
    sys.exit(main())
