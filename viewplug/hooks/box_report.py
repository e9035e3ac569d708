"""What is said and drawn of an update of ContrastiveCrop's boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from viewplug.hooks.box_sources import ForwardBoxes, ViewBoxes
from viewplug.hooks.box_targets import BoxTargets
from viewplug.ops.heatmap_boxes import HeatmapBoxes
from viewplug.unwrapping import unwrapped
from viewplug.views import ViewGeometry
from viewplug.visualization.box_sheet import draw_boxes, order_as_loaded


def report_boxes(
    runner, step: int, unit: str, rows: Tensor, before: Tensor | None, seconds: float, spent: float, run_seconds: float
) -> dict[str, float]:
    """Write an update's figures to the log, ``runner.message_hub`` and ``runner.visualizer``.

    Args:
        unit: of ``step``, 'epochs' or 'iterations'.
        rows: (N, 6), boxes (x1, y1, x2, y2), whether the map is dead, whether the image could not be read. Such images
            count in ``unreadable`` only.
        before: (N, 4) boxes until now, None at the first update.
        seconds: that this update took.
        spent: seconds that localisation has taken of the run's ``run_seconds``.

    Returns:
        The figures, without the ``localization/`` that stands before each of them elsewhere.
    """
    number, lost = len(rows), rows[:, 5] > 0
    rows = rows[~lost]
    area = float(((rows[:, 2] - rows[:, 0]) * (rows[:, 3] - rows[:, 1])).mean())
    found = HeatmapBoxes(rows[:, :4], rows[:, 4] > 0)
    whole, dead, unreadable = (float(part.float().mean()) for part in (found.whole, found.dead, lost))
    share = spent / max(run_seconds, 1e-9)
    values = dict(box_area=area, whole=whole, dead=dead, unreadable=unreadable, seconds=seconds, time_share=share)
    drift = ''
    if before is not None:
        pairs = torch.stack([before[~lost], found.boxes], dim=1)
        pairs = ViewGeometry(pairs, torch.zeros(pairs.shape[:2], dtype=torch.bool))
        values['iou_with_last'] = float(pairs.iou(0, 1).mean())
        drift = f', mean IoU with the boxes before {values["iou_with_last"]:.2f}'
    apart = ''
    if lost.any():
        apart = f'{int(lost.sum())} ({unreadable:.1%}) are the whole image because the image could not be read; '
        apart += 'of the others '
    named = {f'localization/{key}': value for key, value in values.items()}
    for key, value in named.items():
        runner.message_hub.update_scalar(key, value)
    runner.visualizer.add_scalars(named, step=step)
    runner.logger.info(
        f'Boxes of {number} images after {step} {unit}: {apart}mean area {area:.1%} of the image{drift}; '
        f'{int(found.whole.sum())} ({whole:.1%}) are the whole image, {int(found.dead.sum())} ({dead:.1%}) because '
        f'the heat map is dead. It took {seconds:.1f} s; localisation has had {share:.2%} of {run_seconds / 3600:.2f} '
        'hours.'
    )
    return values


def draw_update(
    runner, path: Path, step: int, source: ForwardBoxes | ViewBoxes, targets: BoxTargets, number: int, order: str | None
) -> None:
    """Heat maps, boxes and crops of the first ``number`` images to ``path`` and the visualizer.

    Args:
        order: of the channels as images are loaded, 'bgr' or 'rgb'; None: as the run's config says.
    """
    order = order or order_as_loaded(unwrapped(runner.model).data_preprocessor, runner.cfg)
    images = targets.whole_images(source.reading.size)
    pixels = torch.stack([images[index][0] for index in range(min(number, len(images)))])
    boxes, crop = targets.read()[: len(pixels)], targets.targets[0].crops[0]
    sheet = draw_boxes(pixels, source.heatmaps(runner, pixels), boxes, crop, order)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    runner.logger.info(f'Heat maps, boxes and crops of {len(pixels)} images: {path}')
    runner.visualizer.add_image('vis_boxes', np.asarray(sheet), step=step)
