# The backbone C1-C4 and its BN statistics stay as pre-trained; RPN and C5 train (ReSim, Table 3b).
_base_ = 'voc07_faster_rcnn_r50_c4_24k.py'
model = dict(backbone=dict(frozen_stages=3))
