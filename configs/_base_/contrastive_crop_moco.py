# MoCo of ContrastiveCrop's small data sets, as in its authors' code: queue, momentum, temperature and residual branches
# that do not start at zero. Ours are EMAN, on one process in place of shuffling, and a queue that starts empty.
_base_ = './moco_r18_32px.py'

model = dict(
    backbone=dict(zero_init_residual=False),
    target=dict(momentum=0.999),
    branches=dict(image=dict(head=dict(queue_len=65536, loss=dict(temperature=0.2)))),
)
