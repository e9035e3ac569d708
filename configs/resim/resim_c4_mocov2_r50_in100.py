# ReSim-C4 on MoCo v2, ResNet-50, IN-100, 500 epochs with a queue of 16,384 (ReSim, sec. 4, app. A.1).
_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/moco_resim_c4_r50.py',
    '../_base_/in1k_resim.py',
    '../_base_/in100.py',
]

model = dict(branches=dict(image=dict(head=dict(queue_len=16384))))
train_dataloader = dict(dataset=_base_.in100)
knn_hook = dict(train_dataloader=dict(dataset=_base_.in100), val_dataloader=dict(dataset=_base_.in100))
