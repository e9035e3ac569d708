"""The benchmark suite behind ``python -m benchmarks``: viewplug against its peers on the same work.

A section is a module here with a function ``contests(setting)``, which lists its contests; a new one is a new module
and its name in ``SECTIONS``, in the order in which they run.
"""

SECTIONS = dict(
    views='views',
    steps='steps',
    losses='losses',
    update='localization_update',
)
