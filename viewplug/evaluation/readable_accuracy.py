"""mmpretrain's accuracy without the images that cannot be read."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from mmengine.logging import print_log
from mmengine.runner import ValLoop
from mmpretrain.evaluation import Accuracy

from viewplug.evaluation.stand_ins import is_stand_in, left_out, marked, with_dataset

LEFT_OUT = 'left_out'


class ReadableAccuracy(Accuracy):
    """``Accuracy`` of the samples that are no stand-ins (:mod:`viewplug.evaluation.stand_ins`).

    They are dropped when the ranks' results are together, in which each image has its place. Where there are any, the
    result has ``left_out``, their number, and the log says it once.

    Raises:
        ValueError: on every rank, no image can be read.
    """

    _said = False

    def process(self, data_batch, data_samples: Sequence[dict]) -> None:
        before = len(self.results)
        super().process(data_batch, data_samples)
        for result, sample in zip(self.results[before:], data_samples, strict=True):
            result[LEFT_OUT] = is_stand_in(sample)

    def evaluate(self, size: int) -> dict:
        metrics = super().evaluate(size)
        if set(metrics) == {f'{self.prefix}/{LEFT_OUT}' if self.prefix else LEFT_OUT}:
            raise ValueError(f'{left_out(size, size, "val_dataloader")}, and there is no other')
        return metrics

    def compute_metrics(self, results: list) -> dict:
        kept = [result for result in results if not result[LEFT_OUT]]
        number = len(results) - len(kept)
        if not number:
            return super().compute_metrics(results)
        sentence = left_out(number, len(results), 'val_dataloader')
        if not kept:
            return {LEFT_OUT: number}  # of the first rank alone, for which the others wait
        if not self._said:
            print_log(sentence, 'current', logging.WARNING)
            self._said = True
        return {**super().compute_metrics(kept), LEFT_OUT: number}


def leave_out_stand_ins(loop: ValLoop) -> None:
    """Change a validation loop, in place, so that its ``Accuracy`` counts readable images alone."""
    loop.dataloader = with_dataset(loop.dataloader, marked(loop.dataloader.dataset))
    metrics = loop.evaluator.metrics
    for place, metric in enumerate(metrics):
        if type(metric) is Accuracy:
            metrics[place] = ReadableAccuracy(metric.topk, metric.thrs, metric.collect_device, metric.prefix)
            metrics[place].dataset_meta = metric.dataset_meta
