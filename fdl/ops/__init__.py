"""Pure functions on arrays, channel-last: what the layers are made of."""

from fdl.ops._conv import Form as Form
from fdl.ops._conv import conv as conv
from fdl.ops._pool import avg_pool as avg_pool
from fdl.ops._pool import max_pool as max_pool
from fdl.ops._recurrence import recur as recur
from fdl.ops._recurrence import recur_with_weights as recur_with_weights
from fdl.ops._window import explicit_padding as explicit_padding
from fdl.ops._window import pair as pair
