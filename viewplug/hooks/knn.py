"""The learning curve of a self-supervised run: kNN accuracy of the frozen backbone while it trains."""

from collections.abc import Callable, Sequence

import torch
from mmengine.hooks import Hook
from torch.utils.data import DataLoader

from viewplug.evaluation.classes import check_classes
from viewplug.evaluation.knn import check_knn, evaluate_knn
from viewplug.random_states import kept_random_state
from viewplug.registry import HOOKS
from viewplug.unwrapping import unwrapped


@HOOKS.register_module()
class KNNHook(Hook):
    """Weighted kNN accuracy (Wu et al., CVPR 2018; see ``viewplug.evaluation.knn``) before, during and after training.

    It touches nothing that training sees: random states and training modes are put back, so losses with and without it
    are equal to the bit (CPU). On several processes each extracts its share. It runs before CheckpointHook, so
    a checkpoint holds the curve up to its own epoch, and a resumed run (not ``load_from``) continues it. Images that
    cannot be read are left out, and their number is logged.

    Written to: the log, one line with the whole curve; ``runner.visualizer``, scalars ``knn/top1_k20`` over epochs (or
    iterations); ``runner.message_hub``, scalar ``val/knn_top1`` (of the first k) and info ``knn_curve``. With
    ``target=True`` the word ``knn`` reads ``knn_target`` in all of them.

    Args:
        train_dataloader: The labelled bank, one plain view per image (a config or a DataLoader). Its sampler is
            replaced: every image counts once, in order. ``collate_fn`` and ``sampler`` may be left out.
        val_dataloader: The labelled images to classify, likewise.
        k: Number of neighbours, or several; the first is the one of ``curve``.
        temperature: Of the votes' weights exp(cosine / temperature).
        interval: Epochs (``by_epoch=False``: iterations) between evaluations; the end of training always counts.
        at_start: Evaluate the untrained network too (at iteration 0 only, so not on resume).
        target: Evaluate the momentum copy, ``model.target.backbone``, in place of the online backbone.
        by_epoch: Whether ``interval`` and the curve count epochs.

    Raises:
        ValueError: On a k, temperature or interval out of range, data without labels, a target without a backbone, or,
            before training, two data sets with other classes.
    """

    def __init__(
        self,
        train_dataloader: dict | DataLoader,
        val_dataloader: dict | DataLoader,
        k: int | Sequence[int] = (20,),
        temperature: float = 0.07,
        interval: int = 1,
        at_start: bool = True,
        target: bool = False,
        by_epoch: bool = True,
    ) -> None:
        if not isinstance(interval, int) or interval < 1:
            raise ValueError(f'KNNHook: interval must be a positive integer, got {interval!r}.')
        self.ks = check_knn(k, temperature)
        self.temperature = temperature
        self.interval = interval
        self.at_start = at_start
        self.target = target
        self.by_epoch = by_epoch
        self.name = 'knn_target' if target else 'knn'
        self._configs = train_dataloader, val_dataloader
        self._loaders: tuple[DataLoader, DataLoader] | None = None
        self._records: list[dict] = []
        self._said: set[str] = set()

    @property
    def curve(self) -> list[tuple[int, float]]:
        """(epoch or iteration, top-1 in percent) of the first k; 0 is before training."""
        return [(record['step'], record['top1'][self.ks[0]]) for record in self._records]

    def before_train(self, runner) -> None:
        # A resume has restored the message hub; at iteration 0 it may hold the curve of another run of this process.
        saved = runner.message_hub.get_info(f'{self.name}_curve', []) if runner.iter else []
        self._records = [record for record in saved if set(self.ks) <= set(record['top1'])]
        with kept_random_state():
            self._build_loaders(runner)
        if self.at_start and runner.iter == 0:
            loaded = getattr(runner, '_has_loaded', False)
            self._evaluate(runner, 0, 'loaded weights' if loaded else 'untrained')

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if not self.by_epoch and (self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)):
            self._evaluate(runner, runner.iter + 1)

    def after_train_epoch(self, runner) -> None:
        if self.by_epoch and (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            self._evaluate(runner, runner.epoch + 1)

    def after_train(self, runner) -> None:
        """The end of a run that stopped early."""
        step = runner.epoch if self.by_epoch else runner.iter
        if step and (not self._records or self._records[-1]['step'] != step):
            self._evaluate(runner, step)

    def _evaluate(self, runner, step: int, label: str | None = None) -> None:
        model = unwrapped(runner.model)
        with kept_random_state():
            self._build_loaders(runner)
            top1 = evaluate_knn(
                model, *self._loaders, self.ks, self.temperature, self._backbone(model), say=self._say_once(runner)
            )
        unit = 'epoch' if self.by_epoch else 'iter'
        self._records.append(dict(step=step, label=label or f'{unit} {step}', top1=top1))
        self._report(runner, step, top1)

    def _report(self, runner, step: int, top1: dict[int, float]) -> None:
        for k, accuracy in top1.items():
            runner.logger.info(describe_curve(self._records, k, 'kNN of the target' if self.target else 'kNN'))
            runner.message_hub.update_scalar(f'val/{self.name}_top1' + f'_k{k}' * (k != self.ks[0]), accuracy)
        runner.message_hub.update_info(f'{self.name}_curve', self._records)
        runner.visualizer.add_scalars({f'{self.name}/top1_k{k}': value for k, value in top1.items()}, step=step)

    def _backbone(self, model: torch.nn.Module) -> torch.nn.Module | None:
        if not self.target:
            return None
        backbone = getattr(getattr(model, 'target', None), 'backbone', None)
        if backbone is None:
            kind = type(getattr(model, 'target', None)).__name__
            raise ValueError(f'KNNHook: target=True needs a model whose target has a backbone of its own, got {kind}.')
        return backbone

    def _say_once(self, runner) -> Callable[[str], None]:
        def say(sentence: str) -> None:
            if sentence not in self._said:
                self._said.add(sentence)
                runner.logger.warning(sentence)

        return say

    def _build_loaders(self, runner) -> None:
        if self._loaders is not None:
            return
        loaders = tuple(self._build_loader(runner, config) for config in self._configs)
        try:
            check_classes(*(loader.dataset for loader in loaders))
        except ValueError as error:
            raise ValueError(f'KNNHook: train_dataloader and val_dataloader do not fit: {error}') from error
        self._loaders = loaders
        self._warn_of_small_bank(runner)

    @staticmethod
    def _build_loader(runner, config: dict | DataLoader) -> DataLoader:
        if isinstance(config, dict):
            defaults = dict(sampler=dict(type='DefaultSampler', shuffle=False), collate_fn=dict(type='default_collate'))
            config = {**defaults, **config}
        return runner.build_dataloader(config, seed=runner.seed)

    def _warn_of_small_bank(self, runner) -> None:
        bank = len(self._loaders[0].dataset)
        if max(self.ks) > bank:
            runner.logger.warning(
                f'KNNHook: k={max(self.ks)}, but train_dataloader has {bank} images; all of them vote.'
            )


def describe_curve(records: Sequence[dict], k: int, title: str = 'kNN') -> str:
    """``kNN top-1 (k=20): 29.5 (untrained) -> 33.0 (epoch 1), +3.5 points``."""
    values = [record['top1'][k] for record in records]
    points = ' -> '.join(f'{value:.1f} ({record["label"]})' for value, record in zip(values, records, strict=True))
    gain = f', {values[-1] - values[0]:+.1f} points' if len(values) > 1 else ''
    return f'{title} top-1 (k={k}): {points}{gain}'
