/*-------------------------------------------------------------------------
 *
 * attempt.h
 *		A sample's attempts at endpoints: what route.c is told of each, and
 *		what it says.
 *
 * Types only.  Pure: no PostgreSQL.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_ATTEMPT_H
#define RSTAR_ATTEMPT_H

#include <stdbool.h>
#include <stdint.h>

/* The clock counts microseconds */
#define RSTAR_MILLISECOND INT64_C(1000)
#define RSTAR_SECOND INT64_C(1000000)

/* Endpoints of one server at most: attempts keep sets of them in 64 bits */
#define RSTAR_ROUTE_MAX_ENDPOINTS 64

/* One server's endpoints; choose.h has what is in it */
typedef struct RstarRoute RstarRoute;

typedef struct RstarRouteConfig
{
	int			max_in_flight;	/* per endpoint: start and ceiling; 0: probe */
	int			retries;		/* further attempts for 5xx, bad replies */
	int64_t		timeout;		/* us, of an attempt; 0: none */
} RstarRouteConfig;

typedef enum RstarOutcomeKind
{
	RSTAR_OUTCOME_ANSWER,		/* a 2xx that was understood (score or not) */
	RSTAR_OUTCOME_BAD_REPLY,	/* a 2xx with junk, abort, an in-band error */
	RSTAR_OUTCOME_STATUS,		/* any other HTTP status */
	RSTAR_OUTCOME_TRANSPORT,	/* not connected, reset, empty reply, TLS */
	RSTAR_OUTCOME_UNTRUSTED,	/* its certificate cannot be verified */
	RSTAR_OUTCOME_TIMEOUT,		/* sent, no whole reply in time */
	RSTAR_OUTCOME_LOST,			/* its endpoint has gone, and we closed it */
	RSTAR_OUTCOME_CANCELLED		/* we closed it; says nothing of the endpoint */
} RstarOutcomeKind;

/* What came of asking an endpoint for its /health, on a new connection */
typedef enum RstarHealth
{
	RSTAR_HEALTH_WELL,			/* a 2xx */
	RSTAR_HEALTH_REPLY,			/* any other reply: it means something else */
	RSTAR_HEALTH_UNWELL,		/* 503: it starts, or is about to end */
	RSTAR_HEALTH_REFUSED,		/* nobody listens */
	RSTAR_HEALTH_MUTE,			/* no reply in time, or the connection broke */
	RSTAR_HEALTH_NOT_ASKED		/* for a reason of our own */
} RstarHealth;

typedef struct RstarOutcome
{
	RstarOutcomeKind kind;
	int			status;			/* HTTP status for STATUS */
	int			retry_after;	/* seconds, -1 when not sent */
	bool		unknown_model;	/* 404/400 whose body says so */
	bool		quota;			/* 429 that will not go away */
	bool		not_now;		/* 404/5xx whose body says: it may yet */
	bool		away;			/* 5xx whose body says: the gateway has not
								 * come through to its server */
	bool		again;			/* ANSWER, STATUS: for this sample only, which
								 * goes again at once, with another text */
	bool		refused;		/* TRANSPORT: nobody listens there */
	bool		own;			/* STATUS: of our making, nobody has replied */
	bool		nowhere;		/* TRANSPORT: that, or its name is unknown */
} RstarOutcome;

/* Outcomes that are told apart; what each means is a table in verdict.c */
typedef enum RstarClass
{
	RSTAR_CLASS_ANSWER,			/* what we asked for */
	RSTAR_CLASS_NONSENSE,		/* a 2xx that is none */
	RSTAR_CLASS_SHORTENED,		/* the text was too long, and is cut */
	RSTAR_CLASS_REJECTED,		/* this request will never be answered */
	RSTAR_CLASS_QUOTA,			/* nor any other, until somebody pays */
	RSTAR_CLASS_REFUSAL,		/* not us, or not this model */
	RSTAR_CLASS_PUSHBACK,		/* not now */
	RSTAR_CLASS_SERVER_ERROR,
	RSTAR_CLASS_TIMEOUT,
	RSTAR_CLASS_TRANSPORT,
	RSTAR_CLASS_LOST,			/* its endpoint has gone with it */
	RSTAR_CLASS_CANCELLED
} RstarClass;

#define RSTAR_NCLASSES (RSTAR_CLASS_CANCELLED + 1)

/*
 * What route.c keeps per sample, inside the caller's struct; zeroed at start
 * but for last_endpoint = -1.
 */
typedef struct RstarAttempt
{
	uint64_t	affinity;		/* hash of (task, query), set by the caller */
	uint32_t	request;		/* identity of the pair, for the breaker's
								 * "different requests"; set by the caller */
	uint32_t	mapping;		/* user mapping, for the misconfigured state */
	int			failures;		/* attempts used up */
	int			transports;		/* transport errors so far */
	int			endpoint;		/* where it is now, -1 when nowhere */
	int			last_endpoint;	/* where it failed last, -1 none */
	int64_t		not_before;		/* do not send earlier than this */
	/* of no use to the caller: */
	int			pushbacks;		/* 429, 503, 408 in a row */
	int			refusals;		/* by endpoints that were not marked */
	int64_t		sent_at;
	int			ahead;			/* in flight there then, itself included, ... */
	int64_t		answered;		/* and what that endpoint had answered */
	int			errors;			/* 5xx that it was not blamed for */
	int			losses;			/* endpoints that went with it */
	int			away;			/* outcomes like that, or 502, which others
								 * had at that time, too */
	int64_t		blamed_at;		/* last failure that was taken for its own */
	uint64_t	tried;			/* set of endpoints where it failed; not
								 * renumbered, it is a preference only */
} RstarAttempt;

typedef enum RstarVerdict
{
	RSTAR_VERDICT_DONE,			/* it was an answer */
	RSTAR_VERDICT_RETRY,		/* again, not before attempt->not_before */
	RSTAR_VERDICT_FAIL			/* for good */
} RstarVerdict;

/* What became of an endpoint, for the log */
typedef enum RstarChangeKind
{
	RSTAR_CHANGE_OPENED,		/* out of use after failures */
	RSTAR_CHANGE_CLOSED,		/* and in use again */
	RSTAR_CHANGE_MARKED,		/* misconfigured, for one mapping */
	RSTAR_CHANGE_CLEARED		/* and not any more */
} RstarChangeKind;

typedef struct RstarChange
{
	RstarChangeKind kind;
	int			endpoint;		/* as it was numbered then */
	uint32_t	mapping;		/* MARKED, CLEARED */
} RstarChange;

#endif							/* RSTAR_ATTEMPT_H */
