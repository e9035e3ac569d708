# IN-200: 200 random classes of ImageNet-1K (ContrastiveCrop, sec. 4.3), drawn by a seed and written to a file.
_base_ = './in1k_mocov1.py'

in200 = dict(
    type='viewplug.ClassSubset',
    num_classes=200,
    class_seed=0,
    classes_file='work_dirs/contrastive_crop/in200/classes.txt',
)
train_dataloader = dict(dataset=in200)
knn_hook = dict(train_dataloader=dict(dataset=in200), val_dataloader=dict(dataset=in200))
