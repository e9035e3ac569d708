# LN, layer norm: patches no longer tell each other through batch statistics what is to be predicted.
_base_ = './cpc_2_bu.py'

model = dict(backbone=dict(norm_cfg=dict(type='viewplug.ChannelLayerNorm')))
