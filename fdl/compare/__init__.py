"""Comparing optimizers: space, plan, execution, records, statistics."""

from fdl.compare import space as space
from fdl.compare._conduct import study as study
from fdl.compare._contestants import Contestant as Contestant
from fdl.compare._contestants import by_name as by_name
from fdl.compare._contestants import classics as classics
from fdl.compare._contestants import from_toml as from_toml
from fdl.compare._export import export as export
from fdl.compare._statistics import Interval as Interval
from fdl.compare._statistics import Result as Result
from fdl.compare._statistics import Trial as Trial
from fdl.compare._statistics import interval as interval
from fdl.compare._store import RunRecord as RunRecord
from fdl.compare._study import Study as Study
