"""intake: where other systems, engineers and release managers tell Daymark what is going to production.

Owns: products (their policies), releases, change requests, their deployments and rollbacks, test results, code reviews.
Says: product.changed, release.planned, release.frozen, release.closed, cr.registered, cr.changed, cr.withdrawn,
cr.deployed, cr.rolled_back, code_review.recorded, tests.recorded.
Hears: nothing of the other services; signed commands on its own topic daymark.inbound.
Grows at: reports/ (one file per format of a test report), webhooks/ (one file per system that speaks its own words).

A CR's facts carry the CR row's version as sequence, so a hearer can put all of them in order. What a deployer says is
never refused because of the CR's state: it is recorded, and flagged when it went against the process.
"""
