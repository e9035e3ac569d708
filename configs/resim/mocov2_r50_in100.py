# MoCo v2 on IN-100, 500 epochs with a queue of 16,384: the baseline of ReSim's Tables 1 to 3.
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/moco_r50.py',
    '../_base_/in1k_mocov2.py',
    '../_base_/in100.py',
]

model = dict(branches=dict(image=dict(head=dict(queue_len=16384))))
train_dataloader = dict(dataset=_base_.in100)
knn_hook = dict(train_dataloader=dict(dataset=_base_.in100), val_dataloader=dict(dataset=_base_.in100))
