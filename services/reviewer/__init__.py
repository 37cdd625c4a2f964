"""The reviewer hears everything and decides nothing alone: dossiers, operations' input, go, and the gate.

Owns: the dossier (read model of all facts) and the stage in it, reviews, go / no-go, gate answers, the web console
Says: review.requested, review.given, review.voided, review.acknowledged, go.decided, gate.answered
Hears: everything
Grows at: console/ (templates, static). The gate has one shape, which deployers read as it is.

Rooms: domain/ (known, evidence, review, production, dossier, digest, gate, stage, document), commands (what people may
ask), store, handlers/ (heard, spoken, pages), api/ (doors, pages), console/ (how a page looks), app.
"""
