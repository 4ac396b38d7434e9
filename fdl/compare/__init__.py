"""Comparing optimizers: space, plan, execution, records, statistics."""

from fdl.compare import space as space
from fdl.compare._budget import BudgetCurve as BudgetCurve
from fdl.compare._conduct import study as study
from fdl.compare._contestants import Contestant as Contestant
from fdl.compare._contestants import by_name as by_name
from fdl.compare._contestants import classics as classics
from fdl.compare._contestants import from_toml as from_toml
from fdl.compare._export import export as export
from fdl.compare._intervals import Interval as Interval
from fdl.compare._intervals import interval as interval
from fdl.compare._paired import Comparison as Comparison
from fdl.compare._results import Result as Result
from fdl.compare._sensitivity import Sensitivity as Sensitivity
from fdl.compare._store import RunRecord as RunRecord
from fdl.compare._study import Axis as Axis
from fdl.compare._study import Study as Study
from fdl.compare._targets import Profile as Profile
from fdl.compare._tuning import Trial as Trial
