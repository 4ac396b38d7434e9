"""Pure functions on arrays, channel-last: what the layers are made of."""

from fdl.ops._attention import additive_weights as additive_weights
from fdl.ops._attention import attention as attention
from fdl.ops._attention import attention_weights as attention_weights
from fdl.ops._attention import length_mask as length_mask
from fdl.ops._attention import masked_softmax as masked_softmax
from fdl.ops._conv import conv as conv
from fdl.ops._conv import conv_transpose as conv_transpose
from fdl.ops._decode import Decoded as Decoded
from fdl.ops._decode import beam_search as beam_search
from fdl.ops._decode import filter_logits as filter_logits
from fdl.ops._decode import greedy_decode as greedy_decode
from fdl.ops._decode import sample_decode as sample_decode
from fdl.ops._forms import Form as Form
from fdl.ops._pool import adaptive_avg_pool as adaptive_avg_pool
from fdl.ops._pool import adaptive_max_pool as adaptive_max_pool
from fdl.ops._pool import avg_pool as avg_pool
from fdl.ops._pool import max_pool as max_pool
from fdl.ops._positions import rotary as rotary
from fdl.ops._positions import sinusoidal as sinusoidal
from fdl.ops._recurrence import recur as recur
from fdl.ops._recurrence import recur_with_weights as recur_with_weights
from fdl.ops._resize import Method as Method
from fdl.ops._resize import upsample as upsample
from fdl.ops._window import explicit_padding as explicit_padding
from fdl.ops._window import per_axis as per_axis
from fdl.ops._window import spatial_rank as spatial_rank
