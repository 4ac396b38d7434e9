"""The few concepts that every floor shares: layers and their scope, named keys, compilation, errors, file I/O."""

from fdl.core._compile import compiler_options as compiler_options
from fdl.core._compile import jit as jit
from fdl.core._errors import FdlError as FdlError
from fdl.core._errors import check_positive as check_positive
from fdl.core._errors import choose as choose
from fdl.core._keys import fold as fold
from fdl.core._paths import group as group
from fdl.core._paths import matches as matches
from fdl.core._paths import matching as matching
from fdl.core._paths import select as select
from fdl.core._scope import Call as Call
from fdl.core._scope import Layer as Layer
from fdl.core._scope import Scope as Scope
from fdl.core._scope import Wrapper as Wrapper
from fdl.core._scope import located as located
