"""mmdet's LVIS metric on today's numpy."""

import numpy as np
from mmdet.evaluation import LVISMetric as MMDetLVISMetric

from viewplug.registry import METRICS


@METRICS.register_module()
class LVISMetric(MMDetLVISMetric):
    """mmdet's ``LVISMetric``. The ``lvis`` package still says ``np.float``, which numpy has removed: lent here."""

    def compute_metrics(self, results: list) -> dict[str, float]:
        if hasattr(np, 'float'):
            return super().compute_metrics(results)
        np.float = float
        try:
            return super().compute_metrics(results)
        finally:
            del np.float
