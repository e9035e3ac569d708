"""What would make a run end without training, said before it starts."""

from mmengine.hooks import Hook

from viewplug.registry import HOOKS


@HOOKS.register_module()
class PreflightHook(Hook):
    """Refuse a training loader that yields no batch (mmengine would run through all epochs without one step).

    Raises:
        ValueError: the batch is larger than the data set and ``drop_last=True``.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner) -> None:
        loader = runner.train_dataloader
        if len(loader) == 0:
            images, batch = len(loader.dataset), loader.batch_sampler.batch_size
            raise ValueError(
                f'train_dataloader.batch_size={batch} on {runner.world_size} process(es) is larger than the data set '
                f'({images} images), and drop_last=True drops the one incomplete batch: no step would ever run. '
                f'Lower it, e.g. --cfg-options train_dataloader.batch_size={max(1, images // runner.world_size // 4)}'
            )
