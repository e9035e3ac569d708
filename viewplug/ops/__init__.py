"""Tensor operations that stand on their own."""

from .backbone_heatmaps import HeatmapProbe
from .gather import gather_rows
from .heatmap_boxes import HeatmapBoxes, channel_sum, localise
from .precision import at_least_float32

__all__ = ['HeatmapBoxes', 'HeatmapProbe', 'at_least_float32', 'channel_sum', 'gather_rows', 'localise']
