# IN-100: 100 classes of ImageNet-1K, for 500 epochs (ReSim, sec. 4), those of Contrastive Multiview Coding
# (arXiv:1906.05849), which the paper follows.
_base_ = './sgd_200e.py'

in100 = dict(
    type='viewplug.ClassSubset',
    num_classes=100,
    classes_file='{{ fileDirname }}/in100_classes.txt',
)
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=500, by_epoch=True, begin=0, end=500, convert_to_iter_based=True)
]
train_cfg = dict(max_epochs=500)
