"""Lines that mmengine logs as warnings and that are none."""

import logging


def heed_no_frozen(record: logging.LogRecord) -> bool:
    """A logger's filter: that a frozen parameter is none of the optimiser's is information.

    mmengine's optimiser constructor warns of each of them where the config has a ``paramwise_cfg``. A momentum target
    is frozen as a whole, so that DINO's runs would begin with a warning for each of a ViT's tensors.
    """
    if record.levelno == logging.WARNING and record.getMessage().endswith('is skipped since its requires_grad=False'):
        record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
    return True
