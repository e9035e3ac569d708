"""Tensor operations that stand on their own."""

from .backbone_heatmaps import HeatmapProbe
from .gather import gather_rows, gather_rows_with_grad
from .heatmap_boxes import HeatmapBoxes, channel_sum, localise
from .precision import at_least_float32
from .prroi_pool import PrRoIPool, prroi_pool, prroi_pool_grid

__all__ = [
    'HeatmapBoxes',
    'HeatmapProbe',
    'PrRoIPool',
    'at_least_float32',
    'channel_sum',
    'gather_rows',
    'gather_rows_with_grad',
    'localise',
    'prroi_pool',
    'prroi_pool_grid',
]
