# Fig. 8 of SimCLR (arXiv:2002.05709), no projection head: h itself is compared.
_base_ = './r50_b4096.py'

model = dict(branches=dict(image=dict(neck=dict(_delete_=True, type='viewplug.PoolNeck'))))
