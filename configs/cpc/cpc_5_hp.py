# HP, horizontal prediction: columns are predicted from those to their left and right too.
_base_ = './cpc_4_rc.py'

model = dict(directions=('down', 'up', 'right', 'left'))
