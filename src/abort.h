/*-------------------------------------------------------------------------
 *
 * abort.h
 *		Tells SGLang that a request was cancelled.
 *
 * Called by: send.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_ABORT_H
#define RSTAR_ABORT_H

#include "postgres.h"

#include "http.h"
#include "sample.h"

/*
 * A sample that is flying is about to be closed: its server is told, if it
 * is one that wants to be.  Not when there are too many of these; nobody
 * hears what came of it.
 */
extern void rstar_abort_sample(const RstarSample *sample);

/* The exchange of an abort has ended */
extern void rstar_abort_done(const RstarHttpReply *reply);

#endif							/* RSTAR_ABORT_H */
