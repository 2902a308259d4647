/*-------------------------------------------------------------------------
 *
 * models.h
 *		Whether an endpoint would answer under the name of another model, and
 *		wants another dialect.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_MODELS_H
#define RSTAR_MODELS_H

#include "postgres.h"

#include "model/reply_models.h"
#include "worker/exchange.h"
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

/*
 * What kind of server the reply to the question for models shows: puts down
 * whether the dialect fits it, for sessions, and logs when it does not
 */
extern void rstar_models_kind(RstarTarget *target, int endpoint, const RstarHttpReply *reply,
							  const RstarModels *models);

/*
 * The router that a reply has come through, by its headers, or NULL.  It makes
 * its own list of models, and passes on what it understands.
 */
extern const char *rstar_models_router(const RstarHttpReply *reply);

#endif							/* RSTAR_MODELS_H */
