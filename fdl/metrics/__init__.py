"""Metrics, computed on the device: functions of one batch, and running metrics over many."""

from fdl.metrics._confusion import Confusion as Confusion
from fdl.metrics._confusion import Scores as Scores
from fdl.metrics._confusion import scores as scores
from fdl.metrics._functions import accuracy as accuracy
from fdl.metrics._functions import perplexity as perplexity
from fdl.metrics._running import AUC as AUC
from fdl.metrics._running import Accuracy as Accuracy
from fdl.metrics._running import Mean as Mean
from fdl.metrics._running import Metric as Metric
from fdl.metrics._running import Moments as Moments
from fdl.metrics._running import Perplexity as Perplexity
