/*-------------------------------------------------------------------------
 *
 * models.h
 *		Whether an endpoint would answer under the name of another model.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_MODELS_H
#define RSTAR_MODELS_H

#include "postgres.h"

#include "worker/target.h"

typedef enum RstarServes
{
	RSTAR_SERVES,				/* or it refuses by itself what it does not */
	RSTAR_SERVES_OTHER,			/* and answers all the same */
	RSTAR_SERVES_UNKNOWN		/* it is being asked: wait, target->wake tells */
} RstarServes;

/*
 * Whether a sample may be sent to the endpoint; asks it, with the headers of
 * the channel, if that is not known yet.
 */
extern RstarServes rstar_models_serves(RstarTarget *target, int endpoint,
									   RstarChannel *channel, int64 now);

#endif							/* RSTAR_MODELS_H */
