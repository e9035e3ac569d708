# BU, bottom-up: rows are predicted from the rows below too.
_base_ = './cpc_1_mc.py'

model = dict(directions=('down', 'up'))
