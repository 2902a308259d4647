/*-------------------------------------------------------------------------
 *
 * sim.h
 *		What every part of the simulator knows: settings, connections,
 *		requests, replies.
 *
 * One process, one thread, one event loop (main.c).  The way of a request:
 * http.c reads it, chat.c understands it and has the reply made (text.c,
 * reply.c, error.c, fault_apply.c), sched.c lets it wait for as long as a GPU
 * would work on it, deliver.c sends it.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_H
#define SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include <microhttpd.h>

#include "buf.h"
#include "timer.h"

typedef enum SimDialect
{
	SIM_SGLANG,
	SIM_VLLM,
	SIM_LLAMACPP,
	SIM_OPENAI
} SimDialect;

/* What stands before the server; front.c */
typedef enum SimRouter
{
	SIM_NO_ROUTER,
	SIM_SGLANG_ROUTER,
	SIM_SMG,
	SIM_VLLM_ROUTER,
	SIM_LITELLM
} SimRouter;

typedef enum SimWorkers
{
	SIM_WORKERS_UP,
	SIM_WORKERS_NONE,			/* the router knows of none yet */
	SIM_WORKERS_DOWN			/* it knows them, and they refuse */
} SimWorkers;

/* What POST /sim/control changes and POST /sim/reset puts back */
typedef struct SimSettings
{
	SimDialect	dialect;
	double		delay_ms;		/* service time; unless the speeds are set */
	double		jitter;			/* percent, uniform to both sides */
	double		prefill_tps;	/* tokens/s; 0: not used */
	double		decode_tps;
	int			max_running;	/* samples served at once; 0: no limit */
	int			max_queue;		/* requests waiting; -1: no limit */
	int			context;		/* tokens; 0: no limit */
	int			fixed;			/* score of the one prebuilt reply; -1: off */
	int			log_size;		/* requests kept for /sim/log */
	int			close_after;	/* requests on a connection; 0: no limit, -1:
								 * as the dialect does */
	int			idle_close_ms;	/* 0: idle connections stay, -1: as the
								 * dialect does */
	int			max_connections;	/* accepted at once; 0: no limit */
	int			disconnect_ms;	/* until a client that goes is noticed; -1:
								 * when its reply is ready */
	int			health;			/* status of /health */
	int			step_ms;		/* an engine's step, at which the queue is
								 * looked at; 0: at once */
	int			char_bound;		/* most characters of a token, by which vLLM
								 * refuses without counting; 0: it counts */
	SimRouter	router;
	SimWorkers	workers;
	int			router_attempts;	/* -1: as the router has it */
	int			router_breaker; /* failures that open it; 0: none, -1: as the
								 * router has it */
	int			router_breaker_ms;
	int			proxy_timeout_ms;	/* 0: no limit */
	int			proxy_timeout_status;
	int			proxy_max_body; /* bytes; 0: no limit */
	bool		clamp;			/* an answer ends where the context does */
	bool		count_bound;	/* vLLM counts a prompt up to the limit only */
	bool		uuid_ids;		/* X-Request-Id must be a UUID */
	bool		any_model;		/* served under any name, not listed */
	bool		refuse_priority;	/* it does not schedule by priority */
	bool		hold;			/* requests run until they are released */
	bool		loading;		/* 503 on every path */
	bool		term_hold;		/* SIGTERM holds what is in flight */
} SimSettings;

#define SIM_MAX_MODELS 16

/* What only the command line says */
typedef struct SimOptions
{
	int			port;			/* 0: any; -1: not on TCP */
	int			control_port;	/* the same */
	const char *unix_path;
	const char *port_file;
	const char *api_key;
	const char *tls_cert;
	const char *tls_key;
	const char *models[SIM_MAX_MODELS];
	int			nmodels;		/* 0: any name is served */
	size_t		max_body;
	uint64_t	seed;			/* of jitter and failure probabilities */
	bool		die_with_parent;
} SimOptions;

extern SimSettings sim_settings;
extern SimOptions sim_options;

/* A random number in [0, 1), from the stream that --seed starts */
extern double sim_random(void);

struct SimRequest;

/* A connection, from accept to close */
typedef struct SimConn
{
	LIST_ENTRY(SimConn) all;	/* list of open connections, http.c */
	struct MHD_Connection *mhd;
	struct SimRequest *request; /* the one being served, or NULL */
	int			fd;
	bool		hup;			/* the client has closed, or half-closed */
	bool		ended;			/* closed by us while it was idle */
	bool		control;		/* by the control port, or began with /sim/ */
	int			listener;		/* http.c's daemon that has it */
	unsigned	number;			/* since the start, from 1 */
	int			requests;		/* that came in by it */
	char		peer[48];
	SimTimer	idle;
} SimConn;

typedef enum SimState
{
	SIM_RECEIVING,				/* body still coming */
	SIM_QUEUED,					/* sched.c: waits for a slot */
	SIM_RUNNING,				/* sched.c: has its slots */
	SIM_WAITING,				/* outside sched.c: a failure that takes time,
								 * or /sim/wait */
	SIM_READY,					/* its reply can be sent */
	SIM_SENDING,				/* libmicrohttpd has the response */
	SIM_GONE					/* client gone: nothing to send */
} SimState;

/* How a reply ends, after "limit" bytes of body */
typedef enum SimEnd
{
	SIM_END_NORMAL,
	SIM_END_CLOSE,				/* connection closed, bytes missing */
	SIM_END_RESET,				/* the same with a TCP reset */
	SIM_END_STALL				/* nothing more comes, no close either */
} SimEnd;

typedef enum SimDelivery
{
	SIM_DELIVER_RESPONSE,		/* HTTP */
	SIM_DELIVER_RAW,			/* the body's bytes without HTTP, then close */
	SIM_DELIVER_CLOSE,			/* no byte, then close */
	SIM_DELIVER_RESET,			/* no byte, then TCP reset */
	SIM_DELIVER_NEVER			/* nothing, for as long as the client stays */
} SimDelivery;

#define SIM_MAX_HEADERS 4

/* What is to be sent */
typedef struct SimReply
{
	int			status;
	SimDelivery delivery;
	SimEnd		end;
	bool		streamed;		/* by deliver.c's reader: pieces, cut, stall */
	bool		chunked;		/* without Content-Length */
	bool		close;			/* with "Connection: close" */
	bool		fixed;			/* the prebuilt reply of the fixed mode */
	bool		deliberate;		/* the server's side breaks it off */
	bool		close_behind;	/* the connection is closed after it, unsaid */
	size_t		limit;			/* bytes of body that are really sent */
	size_t		total;			/* Content-Length, and length of a streamed
								 * body; a body that is shorter repeats */
	size_t		drip_bytes;		/* a piece; 0: all at once */
	long		drip_ms;		/* between pieces */
	const char *content_type;	/* NULL: application/json */
	SimBuf		body;
	int			nheaders;
	struct
	{
		const char *name;
		char	   *value;		/* owned */
	}			headers[SIM_MAX_HEADERS];
} SimReply;

TAILQ_HEAD(SimList, SimRequest);

struct SimFault;
struct SimEndpoint;

/* A request, from its headers until libmicrohttpd has done with it */
typedef struct SimRequest
{
	SimConn    *conn;
	struct MHD_Connection *mhd;
	const struct SimEndpoint *endpoint;
	SimState	state;
	bool		suspended;		/* libmicrohttpd does not look at it */
	bool		too_large;		/* body over max_body, dropped */
	bool		wrong_method;	/* the path exists, not with this method */
	bool		counted;		/* as aborted */
	bool		drip_due;		/* deliver.c: the next piece may go */
	size_t		body_len;		/* received, kept or not */
	SimBuf		body;
	SimReply	reply;

	/* sched.c */
				TAILQ_ENTRY(SimRequest) entry;
	struct SimList *list;		/* the list it is in, or NULL */
	SimTimer	timer;			/* service, drip, failure or wait */
	int			slots;
	uint64_t	service;		/* microseconds */
	bool		hang;			/* runs until the client goes */
	bool		hold;			/* runs until it is released */

	/* chat.c */
	bool		chat;			/* counted as a chat request */
	uint64_t	arrived;
	unsigned	epoch;			/* of stats.c, when it was counted */
	uint64_t	log_id;			/* in log.c, 0: none */
	char		rid[128];		/* for /abort_request, "" without */
	int			prompt_tokens;
	int			completion_tokens;
	struct SimFault *fault;		/* the chosen failure, owned, or NULL */

	/* front.c */
	SimTimer	proxy;			/* the proxy's patience */
	int			tries;			/* attempts at the server */
	bool		given_up;		/* the reply is the client's, as it is */

	/* stats.c: /sim/wait */
				LIST_ENTRY(SimRequest) waiter;
	struct SimWait *wait;
} SimRequest;

#endif							/* SIM_H */
