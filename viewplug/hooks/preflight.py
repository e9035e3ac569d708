"""What would make a run end without training, or its processes train apart, said before it starts."""

from mmengine.hooks import Hook
from torch.utils.data import DataLoader

from viewplug.hooks.agreement import check_agreement
from viewplug.registry import HOOKS


@HOOKS.register_module()
class PreflightHook(Hook):
    """Refuse a training loader that yields no batch (mmengine would run through all epochs without one step), and
    processes that do not begin alike (:func:`viewplug.hooks.agreement.check_agreement`)."""

    priority = 'VERY_HIGH'

    def before_train(self, runner) -> None:
        check_loader(runner.train_dataloader, runner.world_size)
        check_agreement(runner)


def check_loader(loader: DataLoader, world_size: int = 1) -> None:
    """
    Raises:
        ValueError: the batch is larger than the data set and ``drop_last=True``.
    """
    if len(loader) == 0:
        images, batch = len(loader.dataset), loader.batch_sampler.batch_size
        raise ValueError(
            f'train_dataloader.batch_size={batch} on {world_size} process(es) is larger than the data set '
            f'({images} images), and drop_last=True drops the one incomplete batch: no step would ever run. '
            f'Lower it, e.g. --cfg-options train_dataloader.batch_size={max(1, images // world_size // 4)}'
        )
