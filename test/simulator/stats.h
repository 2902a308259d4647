/*-------------------------------------------------------------------------
 *
 * stats.h
 *		Counters, and waiting for one of them.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_STATS_H
#define SIM_STATS_H

#include "sim.h"

typedef struct SimStats
{
	uint64_t	requests;		/* all paths but /sim/ */
	uint64_t	posts;			/* of these, the POST requests */
	uint64_t	chat;			/* whole chat requests that came in */
	uint64_t	completed;		/* chat replies with status 200, all sent */
	uint64_t	errors;			/* chat replies with another status */
	uint64_t	aborted;		/* clients that went before their answer */
	uint64_t	broken_off;		/* by a failure, without a whole reply */
	uint64_t	aborted_rid;	/* by /abort_request */
	uint64_t	refused;		/* queue full */
	uint64_t	attempts;		/* chat requests that got to the server */
	uint64_t	breaker_opened; /* of the router */
	uint64_t	proxy_timeouts;
	uint64_t	faults;			/* failures done, of any mode */
	uint64_t	connections;	/* accepted, without the control port's */
	uint64_t	reused;			/* requests on a connection that had one */
	uint64_t	idle_closed;	/* connections closed by idle_close_ms */
	uint64_t	samples;		/* choices sent with status 200 */
	uint64_t	prompt_tokens;
	uint64_t	completion_tokens;
	int			peak_running;	/* requests */
	int			peak_slots;
	int			peak_queued;
	int			peak_connections;
} SimStats;

extern SimStats sim_stats;

/* Notes the peaks of what sched.c and http.c count */
extern void sim_stats_peaks(void);

/* A counter has changed: those who wait for it are answered */
extern void sim_stats_changed(void);

/*
 * Notes a chat request's prompt; returns how often it has come, this one
 * included.
 */
extern unsigned sim_stats_prompt(uint64_t prompt, uint64_t seed, bool seeded,
								 int samples);

/* Requests from before a reset are not counted when they end */
extern void sim_stats_reset(void);
extern unsigned sim_stats_epoch(void);
extern void sim_stats_json(SimBuf *buf);

/* GET /sim/wait, and its end when the client goes */
extern void sim_stats_wait(SimRequest *req);
extern void sim_stats_wait_end(SimRequest *req);

#endif							/* SIM_STATS_H */
