"""viewplug: composable self-supervised pre-training for OpenMMLab that keeps where things are.

Nothing is imported here: mmengine imports ``viewplug.registry`` by itself when it meets ``type='viewplug.X'``,
and everybody else imports what they need, e.g. ``from viewplug.necks import HCLNeck``.
"""

__version__ = '0.1.0'
