"""What ships: the limits that `tests/judge/fit.py` found, and its tables as arrays."""

# Written by tests/judge/fit.py; do not edit.
from services.snapshotter.judge.tables import Fitted, one_day, parse, several_days

SHIPPED = Fitted(
    parse(one_day.TABLES, one_day.START),
    parse(several_days.TABLES, several_days.START),
    {1: 2.248, 2: 2.282, 3: 1.787},
    0.500,
    20,
)
