"""Features of a whole data set from a frozen backbone, on one process or shared out over several."""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, get_dist_info
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from viewplug.backbones.pooling import Features, pooled
from viewplug.evaluation.stand_ins import is_stand_in
from viewplug.ops.channels_first import in_torchs_order

STAND_IN = torch.iinfo(torch.int64).min


@torch.no_grad()
def extract_features(
    model: nn.Module,
    dataloader: Iterable,
    device: torch.device | str | None = None,
    backbone: nn.Module | None = None,
) -> tuple[Tensor, Tensor | None]:
    """L2-normalised features of every image, in evaluation mode; the training modes are put back afterwards.

    Args:
        model: With a ``data_preprocessor`` (optional) and a ``backbone``; a model without one is called itself.
        dataloader: Batches dict(inputs=(N, 3, H, W) or N tensors (3, H, W), data_samples=N samples or nothing).
        device: Defaults to the model's.
        backbone: Reads the features with this module in place of ``model.backbone``, e.g. the momentum copy.

    Returns:
        Features (len, D) float32 on ``device``, and labels (len,), None when a sample has no ``gt_label``; the label of
        an image that stands in for an unreadable one (:mod:`viewplug.evaluation.stand_ins`) is :data:`STAND_IN`.
    """
    backbone = backbone if backbone is not None else getattr(model, 'backbone', model)
    device = device if device is not None else next(backbone.parameters()).device
    preprocess = getattr(model, 'data_preprocessor', None)
    modes = {module: module.training for root in (model, backbone) for module in root.modules()}
    features, labels = [], []
    try:
        model.eval()
        backbone.eval()
        for batch in dataloader:
            samples = batch.get('data_samples')
            labels += [_label(sample) for sample in (samples if samples is not None else [None])]
            inputs = _single_view(batch['inputs'])
            if preprocess is not None:
                inputs = _single_view(preprocess(dict(inputs=inputs, data_samples=None), False)['inputs'])
            inputs = inputs.to(device)
            found = backbone(inputs if inputs.is_floating_point() else inputs.float())
            features.append(pool(in_torchs_order(backbone, found)))
    finally:
        for module, mode in modes.items():
            module.training = mode
    if not features:
        raise ValueError(f'no batch came out of {dataloader!r}: its data set is empty.')
    known = all(label is not None for label in labels)
    return torch.cat(features), torch.tensor(labels, device=device) if known else None


def pool(features: Features) -> Tensor:
    """What a backbone gives -> (N, D), float32, unit length; see :func:`viewplug.backbones.pooled` for what counts."""
    return F.normalize(pooled(features, torch.float32).float(), dim=1)


def share(loader: DataLoader, dataset: Dataset | None = None) -> DataLoader:
    """``loader`` with this rank's images rank, rank + W, ...: in order, each once, whatever its sampler was.

    ``dataset`` takes the place of the loader's, image by image.
    """
    rank, world = get_dist_info()
    if len(loader.dataset) < world:
        raise ValueError(f'a data set of {len(loader.dataset)} images cannot be shared by {world} processes.')
    batch_size = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', 64)
    names = ('num_workers', 'collate_fn', 'pin_memory', 'worker_init_fn', 'multiprocessing_context')
    kept = {name: getattr(loader, name) for name in names}
    dataset = loader.dataset if dataset is None else dataset
    return DataLoader(dataset, batch_size, sampler=range(rank, len(dataset), world), **kept)


def gather_shares(rows: Tensor, total: int) -> Tensor:
    """All ranks' rows in the data set's order; ``rows`` are this rank's, as dealt by :func:`share`."""
    world = get_dist_info()[1]
    rows = F.pad(rows, (0, 0) * (rows.ndim - 1) + (0, -(-total // world) - len(rows)))
    return torch.stack(all_gather(rows), dim=1).flatten(0, 1)[:total]


def _single_view(inputs: Tensor | Sequence[Tensor]) -> Tensor:
    if isinstance(inputs, Tensor):
        return inputs
    if all(image.ndim == 3 for image in inputs):  # pseudo_collate, mmengine's default, leaves a list of images
        return torch.stack(list(inputs))
    if len(inputs) == 1:
        return inputs[0]
    raise ValueError(f'features are read from one view of an image, but the loader gives {len(inputs)} views.')


def _label(sample) -> int | None:
    if sample is None or 'gt_label' not in sample:
        return None
    if is_stand_in(sample):
        return STAND_IN
    label = torch.as_tensor(sample.gt_label)
    if label.numel() != 1:
        raise ValueError(f'kNN needs one class per image, got gt_label {label.tolist()}.')
    return int(label)
