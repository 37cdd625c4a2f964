"""snapshotter: the marks that are taken by daylight, one before the change goes live and one a day later.

Owns: snapshots and their samples, benchmarks, pins, anchors, observations and their 24 h clock, the judge's verdicts,
    deviations, kept days and the limits that they give
Says: snapshot.taken, benchmark.drafted, benchmark.published, benchmark.pinned, benchmark.expired,
    benchmark.doubted, anchor.chosen, early_look.taken, snapshot.delayed, snapshot.overdue, observation.closed,
    observation.superseded, deviation.detected, deviation.withdrawn
Hears: product.changed, cr.registered, cr.changed, cr.withdrawn, cr.deployed, cr.rolled_back, review.requested,
    incident.opened, incident.closed
Grows at: sources/ (one file per kind of metric source), uploads/ (one per format of
    readings that come as a file), judge/ (one file per view of a pair of days)
"""
