/*-------------------------------------------------------------------------
 *
 * abort.h
 *		Tells SGLang that a request was cancelled, or took too long.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_ABORT_H
#define RSTAR_ABORT_H

#include "postgres.h"

#include "worker/sample.h"

/*
 * A sample that is flying is about to be closed: its server is told, if it
 * is one that wants to be.  Not when there are too many of these; nobody
 * hears what came of it.
 */
extern void rstar_abort_sample(const RstarSample *sample);

#endif							/* RSTAR_ABORT_H */
