# A linear classifier on ImageNet, as MoCo's (arXiv:1911.05722, sec. 4.1), read by tools/linear_eval.py.
_base_ = './linear_small.py'

batch_size = 256
num_workers = 8
optim_wrapper = dict(optimizer=dict(lr=30.0))
