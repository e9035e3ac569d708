# BYOL's linear classifier (arXiv:2006.07733, appendix): 80 epochs of 1024 images, Nesterov, no regularisation; lr 0.2
# for every 256 images and the cosine are its code's (the paper takes the best of 0.05, 0.1, 0.2, 0.3, 0.4).
_base_ = './linear_simclr.py'

batch_size = 1024
optim_wrapper = dict(optimizer=dict(lr=0.8))
param_scheduler = [dict(type='CosineAnnealingLR', T_max=80, by_epoch=True, begin=0, end=80, convert_to_iter_based=True)]
train_cfg = dict(max_epochs=80)
