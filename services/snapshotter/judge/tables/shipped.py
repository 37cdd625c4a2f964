"""What ships: the limits that `tests/judge/fit.py` found, and its tables as arrays."""

# Written by tests/judge/fit.py; do not edit.
from services.snapshotter.judge.tables import Fitted, one_day, parse, several_days

SHIPPED = Fitted(
    parse(one_day.TABLES, one_day.START),
    parse(several_days.TABLES, several_days.START),
    {1: 1.969, 2: 2.098, 3: 2.098, 6: 2.098},
    0.500,
    20,
    {
        "mean_A": (12.17, 24.96, 24.96),
        "tail_r100": (7.226, 7.291, 7.291),
        "q5_A": (26.09, 33.79, 33.79),
        "late_jump_A": (154.6, 313.8, 313.8),
        "spread": (2.478, 2.478, 2.387),
        "overh_w": (0.525, 0.525, 0.3937),
        "zeros_d": (0.56, 0.56, 0.2866),
        "tail_A97": (47.2, 47.2, 47.2),
        "g_q100": (float("inf"), float("inf"), 1050),
        "late_q_A": (23.74, 24.27, 24.27),
        "z_q95": (float("inf"), float("inf"), 187.5),
        "h_q25": (float("inf"), float("inf"), 70.36),
        "endh_A": (7.463, 9.153, 9.153),
        "ex_end": (float("inf"), float("inf"), 6.961),
    },
    {2: 1.802, 3: 1.505, 6: 0.245},
    1.000,
)
