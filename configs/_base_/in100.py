# IN-100: 100 classes of ImageNet-1K, for 500 epochs (ReSim, sec. 4). Its list is that of earlier papers: write it, a
# folder name a line, to classes_file; without the file the classes are drawn by class_seed.
_base_ = './sgd_200e.py'

in100 = dict(
    type='viewplug.ClassSubset',
    num_classes=100,
    class_seed=0,
    classes_file='work_dirs/resim/in100_classes.txt',
)
param_scheduler = [
    dict(type='CosineAnnealingLR', T_max=500, by_epoch=True, begin=0, end=500, convert_to_iter_based=True)
]
train_cfg = dict(max_epochs=500)
