# 200 epochs on small images.
_base_ = './sgd_200e.py'

optim_wrapper = dict(optimizer=dict(lr=0.06, weight_decay=5e-4))
