# SimCLR, ResNet-50, 200 epochs at batch 512 and lr 0.05, as ContrastiveCrop reproduces it (sec. 4.2); --epochs 100 is
# the length of its Table 2. Augmentation is SimCLR's (arXiv:2002.05709, app. A). Its own settings: configs/simclr.
_base_ = [
    '_base_/default_runtime.py',
    '_base_/simclr_r50.py',
    '_base_/views_simclr.py',
    '_base_/sgd_200e.py',
    '_base_/in1k_labels.py',
]

train_dataloader = dict(batch_size=64)  # times 8 processes

optim_wrapper = dict(optimizer=dict(lr=0.05))
auto_scale_lr = dict(base_batch_size=512)
