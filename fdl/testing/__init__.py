"""Does a layer or an optimizer behave? The laws that fdl's own keep, and the comparison of its optimizers with references."""

from fdl.testing._cases import Case as Case
from fdl.testing._cases import Evaluated as Evaluated
from fdl.testing._cases import Told as Told
from fdl.testing._cases import leafwise as leafwise
from fdl.testing.layers import check_layer as check_layer
from fdl.testing.optimizers import check_optimizer as check_optimizer
