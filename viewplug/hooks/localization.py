"""ContrastiveCrop's boxes: found by the network that trains, from time to time, and handed to the loader's workers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, IterBasedTrainLoop

from viewplug.argument_kinds import check_least
from viewplug.datasets.leaves import leaf_datasets
from viewplug.evaluation.features import gather_shares
from viewplug.hooks.box_report import draw_update, report_boxes
from viewplug.hooks.box_sources import ForwardBoxes, Reading, ViewBoxes
from viewplug.hooks.box_targets import BoxTargets
from viewplug.ops.backbone_heatmaps import KINDS
from viewplug.ops.heatmap_boxes import check_threshold
from viewplug.random_states import kept_random_state
from viewplug.registry import HOOKS
from viewplug.running_stats import average_running_stats
from viewplug.unwrapping import unwrapped


@HOOKS.register_module()
class LocalizationHook(Hook):
    """Gives every ``viewplug.ContrastiveCrop`` of the training pipeline a box for each image, and renews them.

    ContrastiveCrop, sec. 3.2: until ``start`` epochs are done crops are RandomResizedCrop's; then, and after every
    further ``interval`` epochs, each training image goes through the network whole, resized to the input size, in
    evaluation mode; the closure of its heat map above ``threshold`` is its box from the next epoch on. Paper:
    ImageNet ``start=20, interval=10``; small images, 500 epochs, ``start=100, interval=100``; ``threshold=0.1``.

    It works in any Runner whose model has ``backbone`` and ``data_preprocessor`` (viewplug's, mmpretrain's) and touches
    nothing else that training sees: random states and training modes are put back. Processes share the forwards out,
    each writes all boxes for its own workers, running ones too. Mean box area, mean IoU with the boxes before (drift),
    the share of whole-image boxes and of dead maps, seconds, and the share of the run's time go to the log,
    ``runner.message_hub`` and ``runner.visualizer`` as ``localization/...``. Images that could not be read keep the
    whole image; their share (``unreadable``) is said apart, and the other figures are those of the images that could.

    Boxes travel in the checkpoint (key ``localization``), and come back on resume only. They are those in force when
    it was written, so a run killed during an update and resumed has the old ones, and repeats the update. If the images
    are others by then (:func:`viewplug.hooks.image_fingerprint.image_fingerprint`), they are dropped with a warning.

    Images are loaded by the steps before the crop; colour or other changes behind it are not applied, and
    normalisation is the model's ``data_preprocessor``'s.

    ``source='views'`` makes no forward: during training the heat maps of the views themselves (already computed) are
    pasted back into the image where they were cut, flips undone, and averaged between two updates; see
    :class:`viewplug.hooks.view_heatmaps.ViewHeatmaps` for its memory. It needs one data set, and either
    ``viewplug.BatchViews`` or ``viewplug.MultiView`` with ``PackInputs(meta_keys=viewplug.transforms.META_KEYS)``:
    mmpretrain's MultiView drops the geometry. What was averaged so far is not in the checkpoint: an image not seen
    since keeps its box.

    Args:
        start: Epochs done before the first boxes.
        interval: Epochs between updates.
        threshold: k, in [0, 1).
        source: ``'forward'`` or ``'views'``.
        encoder: ``'online'`` or ``'target'``, the momentum copy.
        heatmap: ``'auto'``, ``'features'``, ``'attention'`` or ``'token_norm'``; see
            :class:`viewplug.ops.backbone_heatmaps.HeatmapProbe`.
        adaptive_threshold: None; ``'otsu'``; or q in (0, 1), the q-quantile of each map, in place of ``threshold``.
        batch_size: Of the forward, a process; None: the training loader's.
        num_workers: Likewise.
        input_size: Of the forward, pixels, (height, width) or one number; None: the largest ContrastiveCrop's.
        by_epoch: False counts ``start`` and ``interval`` in iterations, as runs with IterBasedTrainLoop must.
        grid: Cells along a side of the maps of ``source='views'``.
        grid_device: Where those are kept; None: where the features are.
        num_drawn: Images of the first data set to draw at each update, to ``work_dir/vis_boxes`` and the visualizer.
        channel_order: Of the images as they are loaded, for drawing: 'bgr' or 'rgb'; None: as the run's config says
            (:func:`viewplug.visualization.box_sheet.order_as_loaded`).

    Raises:
        ValueError: an argument out of its range; before training: no ContrastiveCrop found, no such encoder, or a
            pipeline or loop that does not fit.
    """

    def __init__(
        self,
        start: int,
        interval: int,
        threshold: float = 0.1,
        source: Literal['forward', 'views'] = 'forward',
        encoder: Literal['online', 'target'] = 'online',
        heatmap: Literal[KINDS] = 'auto',
        adaptive_threshold: float | str | None = None,
        batch_size: int | None = None,
        num_workers: int | None = None,
        input_size: int | tuple[int, int] | None = None,
        by_epoch: bool = True,
        grid: int = 14,
        grid_device: str | torch.device | None = None,
        num_drawn: int = 0,
        channel_order: Literal['bgr', 'rgb'] | None = None,
    ) -> None:
        check_least('LocalizationHook', 0, start=start, num_drawn=num_drawn, num_workers=num_workers)
        check_least('LocalizationHook', 1, interval=interval, grid=grid, batch_size=batch_size)
        try:
            check_threshold(threshold, adaptive_threshold)
        except ValueError as error:
            raise ValueError(f'LocalizationHook: {error}') from None
        self.start, self.interval, self.by_epoch = start, interval, by_epoch
        self.threshold, self.adaptive = threshold, adaptive_threshold
        self.source, self.encoder, self.heatmap = source, encoder, heatmap
        self.batch_size, self.num_workers = batch_size, num_workers
        self.input_size = (input_size, input_size) if isinstance(input_size, int) else input_size
        self.grid, self.grid_device = grid, grid_device
        self.num_drawn, self.channel_order = num_drawn, channel_order
        self._dataset = self._targets = self._source = None
        self._began = self._spent = 0.0
        self._early, self._trying = False, True
        self._resumed = False

    def before_train(self, runner) -> None:
        if isinstance(runner.train_loop, IterBasedTrainLoop) and self.by_epoch:
            raise ValueError(
                'LocalizationHook: by_epoch=True counts epochs, and IterBasedTrainLoop has none; set by_epoch=False, '
                f'and start={self.start} and interval={self.interval} to numbers of iterations'
            )
        self._began, self._spent, self._source = time.time(), 0.0, None
        targets = self._targets_of(runner)
        if not targets.targets:
            runner.logger.warning('LocalizationHook: every ContrastiveCrop has localize=False; nothing to do.')
            return
        targets.check_writable()
        if targets.written and not self._resumed:
            targets.forget()
            runner.logger.warning(
                'LocalizationHook: boxes of an earlier run lay in the store of ContrastiveCrop; this run begins '
                'without. Runs at the same time need a store each.'
            )
        length, unit = (runner.max_epochs, 'epochs') if self.by_epoch else (runner.max_iters, 'iterations')
        if self.start >= length:
            runner.logger.warning(
                f'LocalizationHook: the run has {length} {unit} and start={self.start}: there will be no boxes, and '
                "every crop is RandomResizedCrop's. Lower start, or scale it with the run (--epochs)."
            )
        size = self.input_size or targets.input_size()
        reading = Reading(size, self.threshold, self.adaptive, self.encoder, self.heatmap)
        # What the data or the network cannot give is said now, not at epoch `start`.
        with kept_random_state():
            first = targets.whole_images(size)[0][0][None]
            list(reading.localise(runner, [(first, torch.ones(1, dtype=torch.bool))]))
        if self.source == 'forward':
            self._source = ForwardBoxes(targets, reading, self.batch_size, self.num_workers)
            return
        if len(leaf_datasets(runner.train_dataloader)) > 1:
            raise ValueError(
                "LocalizationHook: source='views' tells images by their sample_idx, and the train loader has several "
                "data sets that number theirs alike; set source='forward'"
            )
        self._source = ViewBoxes(runner, targets, reading, self.grid, self.grid_device)

    def before_train_epoch(self, runner) -> None:
        if self.by_epoch and not getattr(runner.train_loop, 'goes_on', False):  # or its update has been
            self._update_if_due(runner, runner.epoch)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        if not self.by_epoch:
            self._update_if_due(runner, runner.iter)
        if self._source is not None:
            # Maps older than one interval would only blur the first boxes. What does not fit is said at the first step.
            self._early = (runner.epoch if self.by_epoch else runner.iter) < self.start - self.interval
            self._source.before_step(not self._early or self._trying)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self._source is not None:
            self._source.after_step(data_batch)
            if self._early and self._trying:
                self._source.reset()
            self._trying = False

    def after_train(self, runner) -> None:
        if self._source is not None:
            self._source.close()

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        targets = self._targets_of(runner)
        if targets.targets:
            checkpoint['localization'] = targets.state()

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        if not runner._resume or not isinstance(runner._train_loop, BaseLoop) or 'localization' not in checkpoint:
            return
        self._resumed = True
        state, targets = checkpoint['localization'], self._targets_of(runner)
        if not targets.restore(state):
            targets.forget()
            runner.logger.warning(
                f'LocalizationHook: the checkpoint has boxes for {state["lengths"]} images, and this run has other '
                f"data sets ({targets.unlike(state)}); crops are RandomResizedCrop's until the next update."
            )

    def _update_if_due(self, runner, step: int) -> None:
        if self._source is None or step < self.start:
            return
        if not self._source.ready(on_time=(step - self.start) % self.interval == 0):
            return
        begin = time.time()
        runner.logger.info(f'Localising {len(self._targets)} images ...')
        average_running_stats(runner.model)
        with kept_random_state():
            rows = gather_shares(torch.cat(list(self._source.rows(runner))), len(self._targets)).cpu()
            before = self._targets.read() if self._targets.written else None
            self._targets.write(rows[:, :4])
            if self.num_drawn and is_main_process():
                path = Path(runner.work_dir, 'vis_boxes', f'{"epoch" if self.by_epoch else "iter"}_{step}.png')
                draw_update(runner, path, step, self._source, self._targets, self.num_drawn, self.channel_order)
        self._source.reset()
        seconds = time.time() - begin
        self._spent += seconds
        spent, run_seconds = self._spent + self._source.spent, time.time() - self._began
        unit = 'epochs' if self.by_epoch else 'iterations'
        whole = report_boxes(runner, step, unit, rows, before, seconds, spent, run_seconds)['whole']
        if whole > 0.5:
            level = f'threshold={self.threshold}' if self.adaptive is None else f'adaptive_threshold={self.adaptive!r}'
            runner.logger.warning(
                f'LocalizationHook: {whole:.0%} of the boxes are the whole image: for them localisation does nothing. '
                f"Raise {level}, let each map set its own (adaptive_threshold='otsu', or a quantile such as 0.7), "
                f'start later than start={self.start}, or read another map than that of encoder={self.encoder!r}, '
                f'heatmap={self.heatmap!r}.'
            )

    def _targets_of(self, runner) -> BoxTargets:
        """Found once a data set; a checkpoint may be loaded before training begins."""
        dataset = runner.train_dataloader.dataset
        if self._dataset is not dataset:
            self._dataset, self._targets = dataset, BoxTargets(dataset, unwrapped(runner.model).data_preprocessor)
        return self._targets
