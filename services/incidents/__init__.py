"""Incidents: what went wrong in production, what it owes to the next release, and who answers for it by when.

Owns: incidents, regression cases and the debt they are, investigations, every response clock, and the one of looks that
    must come.
Says: incident.opened, incident.closed, regression_case.owed, regression_case.red, regression_case.green,
    investigation.opened, investigation.acknowledged, investigation.explained, investigation.escalated,
    investigation.decided, investigation.closed, rollback.requested.
Hears: product.changed, cr.registered, cr.changed, cr.deployed, cr.rolled_back, release.planned, release.frozen,
    release.closed, tests.recorded, deviation.detected, deviation.withdrawn, observation.closed, observation.superseded,
    snapshot.overdue.
Grows at: nothing yet. An alerting system opens an incident at the same door as a person.
"""
