"""What an alarm is, and which windows there are, by the settings."""

from consumer.settings import WorkerSettings
from drift.alarm import Budget
from drift.detect import Rule, Unit
from drift.windows import MINUTE, scales_of


def rule_of(settings: WorkerSettings) -> Rule:
    """The rule of a monitor and of whoever judges as it does."""
    lengths = settings.drift_pane_minutes, settings.drift_window_minutes, settings.drift_hop_minutes
    scales = scales_of(*(minutes * MINUTE for minutes in lengths))
    return Rule(Budget(settings.drift_alarms), Unit(settings.drift_unit), scales)
