# Fig. 8 of SimCLR (arXiv:2002.05709), a linear projection head. Other widths than 128:
# --cfg-options model.branches.image.neck.out_channels=2048; the non-linear heads are r50_b4096.py with the same option.
_base_ = './r50_b4096.py'

model = dict(branches=dict(image=dict(neck=dict(num_layers=1))))
