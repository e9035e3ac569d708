# SimCLR's linear classifier (arXiv:2002.05709, app. B.6): lr 0.1 for every 256 images, Nesterov, 90 epochs without
# warm-up or regularisation, cosine as its code. tools/linear_eval.py --protocol configs/_base_/linear_simclr.py
_base_ = './linear_small.py'

batch_size = 4096
num_workers = 8
optim_wrapper = dict(optimizer=dict(lr=1.6, nesterov=True))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=90, by_epoch=True, begin=0, end=90, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=90)
