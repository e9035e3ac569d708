"""What would make a run end without training, or its processes train apart, said before it starts."""

from mmengine.hooks import CheckpointHook, EarlyStoppingHook, Hook
from mmengine.runner import ValLoop
from torch.nn import SyncBatchNorm
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader

from viewplug.config.built_parts import check_hidden
from viewplug.config.fixed_keys import warn_of_custom_keys
from viewplug.config.unfollowed_keys import check_followed
from viewplug.frameworks import CPC, Pretext, Siamese
from viewplug.hooks.agreement import check_agreement
from viewplug.hooks.box_targets import localised_crops
from viewplug.hooks.idle_parameters import GradientWitness
from viewplug.hooks.localization import LocalizationHook
from viewplug.registry import HOOKS
from viewplug.unwrapping import unwrapped


@HOOKS.register_module()
class PreflightHook(Hook):
    """Refuse a training loader that yields no batch (mmengine would run through all epochs without one step), and
    processes that do not begin alike (:func:`viewplug.hooks.agreement.check_agreement`), and keys of the config that a
    Runner without ``tools/train.py`` passes over (:func:`viewplug.config.unfollowed_keys.check_followed`), and a
    library's hook, step or data set in place of somebody's own of that name
    (:func:`viewplug.config.built_parts.check_hidden`), and a validation that a framework of viewplug cannot answer. A
    momentum target that moves more often or more seldom than the optimiser is a warning, and so are
    ``paramwise_cfg.custom_keys`` of no parameter, parts of mmengine that wait for a validation which a run does not
    have, a ContrastiveCrop that waits for boxes which nobody finds, running statistics of the first process alone, and,
    behind the first step, parameters that its backward did not reach.
    """

    priority = 'VERY_HIGH'

    def __init__(self) -> None:
        self._witness: GradientWitness | None = None

    def before_train(self, runner) -> None:
        check_loader(runner.train_dataloader, runner.world_size)
        check_agreement(runner)
        check_followed(runner.cfg)
        check_hidden(runner.cfg)
        check_validation(runner)
        warn_of_custom_keys(runner.cfg, unwrapped(runner.model))
        warn_of_waiting(runner)
        warn_of_missing_boxes(runner)
        self._witness = GradientWitness(unwrapped(runner.model))
        counts = getattr(runner.optim_wrapper, '_accumulative_counts', None)
        interval = getattr(getattr(unwrapped(runner.model), 'target', None), 'update_interval', None)
        if counts and interval and counts != interval:
            runner.logger.warning(
                f'PreflightHook: the optimiser steps once in {counts} forwards (optim_wrapper.accumulative_counts), '
                f'and the momentum target moves once in {interval}, so its momentum of a step is not the one set; set '
                f'model.target.update_interval={counts}. Negatives and centres are those of a forward all the same; a '
                'large batch with its exact gradient is model.grad_cache.'
            )

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        if self._witness is not None:  # the first step; the model's train() has said by now which norms stay frozen
            warn_of_one_ranks_statistics(runner)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self._witness is None:
            return
        idle, self._witness = self._witness.close(), None
        if idle:
            stops = '' if _finds_unused(runner.cfg) else ', and several processes would stop at the second step'
            runner.logger.warning(
                f'PreflightHook: no loss of the first step depends on {len(idle)} parameters ({", ".join(idle[:3])}'
                f'{", ..." if len(idle) > 3 else ""}): they did not learn{stops}. Use them in the loss of each step, '
                'leave them out, or freeze them (requires_grad_(False)).'
            )


def _finds_unused(cfg) -> bool:
    """Whether several processes go on without the gradients of some parameters."""
    return bool((cfg.get('model_wrapper_cfg') or cfg).get('find_unused_parameters'))


def check_validation(runner) -> None:
    """
    Raises:
        ValueError: mmengine's validation would ask a framework of viewplug for predictions, an epoch later.
    """
    forward = type(unwrapped(runner.model)).forward
    if isinstance(runner.val_loop, ValLoop) and forward in (Siamese.forward, CPC.forward, Pretext.forward):
        raise ValueError(
            f'val_dataloader, val_cfg and val_evaluator ask {type(unwrapped(runner.model)).__name__} for predictions, '
            'and pre-training makes none: set all three to None; viewplug.KNNHook in custom_hooks follows the accuracy '
            'during the run, tools/linear_eval.py tells it afterwards'
        )


def warn_of_waiting(runner) -> None:
    """What acts on the metrics of mmengine's validation loop only (k-NN accuracy of ``viewplug.KNNHook`` is none)."""
    if runner.val_loop is not None:
        return
    schedulers = runner.param_schedulers
    schedulers = sum(schedulers.values(), []) if isinstance(schedulers, dict) else schedulers or []
    waiting = [f'param_scheduler {type(one).__name__}' for one in schedulers if getattr(one, 'need_val_args', False)]
    for hook in runner.hooks:
        if isinstance(hook, EarlyStoppingHook):
            waiting.append(type(hook).__name__)
        if isinstance(hook, CheckpointHook) and hook.save_best is not None:
            waiting.append('default_hooks.checkpoint.save_best')
    if waiting:
        runner.logger.warning(
            'PreflightHook: without val_dataloader, val_cfg and val_evaluator there is no validation, and nothing will '
            f'come of {", ".join(waiting)}; metrics in the log do not count as one.'
        )


def warn_of_missing_boxes(runner) -> None:
    if any(isinstance(hook, LocalizationHook) for hook in runner.hooks):
        return
    crops = localised_crops(
        runner.train_dataloader.dataset, getattr(unwrapped(runner.model), 'data_preprocessor', None)
    )
    if not all(len(crop.box_store) for crop in crops):
        runner.logger.warning(
            'PreflightHook: viewplug.ContrastiveCrop has no boxes, and there is no viewplug.LocalizationHook in '
            "custom_hooks to find some: unless the pipeline sets results['box'], every crop is RandomResizedCrop's. "
            'Add the hook, or set localize=False for suppressed centres alone.'
        )


def warn_of_one_ranks_statistics(runner) -> None:
    """DistributedDataParallel with ``broadcast_buffers``, which is torch's default and not mmengine's.

    Of a model in the modes that it trains in: frozen statistics (``norm_eval=True``) are the same everywhere.
    """
    model = runner.model
    if not (isinstance(model, DistributedDataParallel) and model.broadcast_buffers and runner.world_size > 1):
        return
    norms = [one for one in model.modules() if isinstance(one, _BatchNorm) and not isinstance(one, SyncBatchNorm)]
    if any(one.training and one.track_running_stats for one in norms):
        runner.logger.warning(
            "PreflightHook: broadcast_buffers=True (torch's default in a model_wrapper_cfg that leaves it out) gives "
            "every process the first one's running statistics before each step, so that those of other images are "
            'lost, to eman=True as well; set model_wrapper_cfg.broadcast_buffers=False.'
        )


def check_loader(loader: DataLoader, world_size: int = 1) -> None:
    """
    Raises:
        ValueError: the batch is larger than the data set and ``drop_last=True``.
    """
    if len(loader) == 0:
        images, batch = len(loader.dataset), loader.batch_sampler.batch_size
        mine = images // world_size
        way = f'Lower it, e.g. --cfg-options train_dataloader.batch_size={max(2, mine // 4)}'
        if mine < 2:  # a batch of one is none to batch norm, nor has it negatives
            way = 'Give it more images, two for each process at the least'
        raise ValueError(
            f'train_dataloader.batch_size={batch} on {world_size} process(es) is larger than the data set '
            f'({images} image{"s" * (images != 1)}), and drop_last=True drops the one incomplete batch: no step would '
            f'ever run. {way}'
        )
