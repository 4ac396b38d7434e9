"""Tables, figures and pages, from records alone."""

from fdl.report._landscape import write_landscape as write_landscape
from fdl.report._page import write as write
from fdl.report._page import write_comparison as write_comparison
from fdl.report._page import write_run as write_run
from fdl.report._terminal import table as table
