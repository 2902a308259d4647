/*-------------------------------------------------------------------------
 *
 * reply_models.h
 *		Whether a server has the model that is asked for, and what server it is.
 *
 * Pure: no PostgreSQL, no globals, never raises, allocates with malloc only.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_REPLY_MODELS_H
#define RSTAR_REPLY_MODELS_H

#include <stdbool.h>
#include <stddef.h>

/* Room for a line and for an owner, with their NULs */
#define RSTAR_MODELS_LINE 160
#define RSTAR_MODELS_OWNER 24

typedef struct RstarModels
{
	bool		listed;			/* the model is among them */
	char		owner[RSTAR_MODELS_OWNER];	/* that all of them name, or "" */
	char		line[RSTAR_MODELS_LINE];	/* lists them, for a person */
} RstarModels;

/* Reads the reply to GET /v1/models */
extern void rstar_reply_models(const char *body, size_t len, const char *model,
							   RstarModels *models);

/*
 * Whether the list alone tells that the server has not this model, by its own
 * words: SGLang, which answers for any name, and smg, which refuses this one as
 * if its servers were still starting.  NAME:ADAPTER is an adapter of a model
 * there.
 */
extern bool rstar_reply_models_other(const RstarModels *models);

/* The name of the server whose models have this owner, or NULL */
extern const char *rstar_reply_models_server(const char *owner);

#endif							/* RSTAR_REPLY_MODELS_H */
