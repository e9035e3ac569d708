# SimCLR, ResNet-50, batch 4096 (arXiv:2002.05709, sec. 2.2 and app. A): crop and flip, colour distortion of strength 1,
# blur; projector 2048-2048-128, temperature 0.1, LARS. On one GPU: --cfg-options train_dataloader.batch_size=4096
# model.grad_cache=128 (as many images as memory holds; the gradient is that of the 4096).
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/simclr_r50.py',
    '../_base_/views_simclr.py',
    '../_base_/simclr_lars_100e.py',
    '../_base_/in1k_labels.py',
]

train_dataloader = dict(batch_size=512)  # times 8 processes
