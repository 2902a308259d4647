/*-------------------------------------------------------------------------
 *
 * stats.c
 *		Counters, and waiting for one of them.
 *
 * Called by: all that count; route.c (/sim/wait, /sim/stats).
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "deliver.h"
#include "error.h"
#include "fault.h"
#include "http.h"
#include "sched.h"
#include "score.h"
#include "stats.h"

#define SIM_MAX_CONDITIONS 8

SimStats	sim_stats;

/* An open-addressed set of hashes, each with a count; 0 is no hash */
typedef struct HashSet
{
	struct
	{
		uint64_t	hash;
		unsigned	count;
		unsigned	samples;
	}		   *slots;
	size_t		size;			/* a power of two */
	size_t		used;
} HashSet;

static HashSet prompts;
static HashSet seeds;			/* (prompt, seed) */
static uint64_t duplicates;
static unsigned epoch;			/* number of resets */
static unsigned most_requests;	/* of one prompt */
static unsigned most_samples;

static int	stat_open(void);
static uint64_t stat_duplicates(void);

/* What can be read and waited for */
static const struct
{
	const char *name;
	const uint64_t *counter;	/* one of these three is set */
	int			(*gauge) (void);
	uint64_t	(*computed) (void);
}			names[] = {
	{"requests", &sim_stats.requests, NULL, NULL},
	{"posts", &sim_stats.posts, NULL, NULL},
	{"chat", &sim_stats.chat, NULL, NULL},
	{"running", NULL, sim_sched_running, NULL},
	{"running_samples", NULL, sim_sched_slots, NULL},
	{"queued", NULL, sim_sched_queued, NULL},
	{"held", NULL, sim_sched_held, NULL},
	{"hung", NULL, sim_sched_hung, NULL},
	{"lost", NULL, sim_sched_lost, NULL},
	{"completed", &sim_stats.completed, NULL, NULL},
	{"errors", &sim_stats.errors, NULL, NULL},
	{"aborted", &sim_stats.aborted, NULL, NULL},
	{"broken_off", &sim_stats.broken_off, NULL, NULL},
	{"aborted_rid", &sim_stats.aborted_rid, NULL, NULL},
	{"refused", &sim_stats.refused, NULL, NULL},
	{"attempts", &sim_stats.attempts, NULL, NULL},
	{"breaker_opened", &sim_stats.breaker_opened, NULL, NULL},
	{"proxy_timeouts", &sim_stats.proxy_timeouts, NULL, NULL},
	{"failures", &sim_stats.faults, NULL, NULL},
	{"connections", NULL, stat_open, NULL},
	{"connections_total", &sim_stats.connections, NULL, NULL},
	{"reused", &sim_stats.reused, NULL, NULL},
	{"idle_closed", &sim_stats.idle_closed, NULL, NULL},
	{"samples", &sim_stats.samples, NULL, NULL},
	{"prompt_tokens", &sim_stats.prompt_tokens, NULL, NULL},
	{"completion_tokens", &sim_stats.completion_tokens, NULL, NULL},
	{"duplicates", NULL, NULL, stat_duplicates},
};

#define NNAMES ((int) (sizeof(names) / sizeof(names[0])))

typedef enum WaitOp
{
	WAIT_GE, WAIT_EQ, WAIT_LE
} WaitOp;

/* A request of /sim/wait: all its conditions must hold at one moment */
struct SimWait
{
	int			count;
	struct
	{
		int			name;		/* index in names[] */
		WaitOp		op;
		uint64_t	target;
	}			conditions[SIM_MAX_CONDITIONS];
};

static LIST_HEAD(, SimRequest) waiters = LIST_HEAD_INITIALIZER(waiters);

static int
stat_open(void)
{
	return sim_http_open();
}

static uint64_t
stat_duplicates(void)
{
	return duplicates;
}

static uint64_t
value_of(int i)
{
	if (names[i].counter != NULL)
		return *names[i].counter;
	if (names[i].gauge != NULL)
		return names[i].gauge();
	return names[i].computed();
}

void
sim_stats_peaks(void)
{
	if (sim_sched_running() > sim_stats.peak_running)
		sim_stats.peak_running = sim_sched_running();
	if (sim_sched_slots() > sim_stats.peak_slots)
		sim_stats.peak_slots = sim_sched_slots();
	if (sim_sched_queued() > sim_stats.peak_queued)
		sim_stats.peak_queued = sim_sched_queued();
	if (sim_http_open() > sim_stats.peak_connections)
		sim_stats.peak_connections = sim_http_open();
}

/* The place of a hash in the set; grows it first when it is half full */
static size_t
set_slot(HashSet *set, uint64_t hash)
{
	size_t		i;

	if (set->used * 2 >= set->size)
	{
		HashSet		bigger = {.size = set->size ? set->size * 2 : 1024};

		bigger.slots = sim_alloc(bigger.size * sizeof(*bigger.slots));
		for (size_t old = 0; old < set->size; old++)
		{
			if (set->slots[old].hash == 0)
				continue;
			i = set->slots[old].hash & (bigger.size - 1);
			while (bigger.slots[i].hash != 0)
				i = (i + 1) & (bigger.size - 1);
			bigger.slots[i].hash = set->slots[old].hash;
			bigger.slots[i].count = set->slots[old].count;
			bigger.slots[i].samples = set->slots[old].samples;
		}
		bigger.used = set->used;
		free(set->slots);
		*set = bigger;
	}
	if (hash == 0)
		hash = 1;
	i = hash & (set->size - 1);
	while (set->slots[i].hash != 0 && set->slots[i].hash != hash)
		i = (i + 1) & (set->size - 1);
	if (set->slots[i].hash == 0)
	{
		set->slots[i].hash = hash;
		set->used++;
	}
	return i;
}

static void
set_clear(HashSet *set)
{
	free(set->slots);
	memset(set, 0, sizeof(*set));
}

unsigned
sim_stats_prompt(uint64_t prompt, uint64_t seed, bool seeded, int samples)
{
	size_t		i = set_slot(&prompts, prompt);
	unsigned	seen = ++prompts.slots[i].count;

	prompts.slots[i].samples += samples;
	if (seen > most_requests)
		most_requests = seen;
	if (prompts.slots[i].samples > most_samples)
		most_samples = prompts.slots[i].samples;
	for (int n = 0; seeded && n < samples; n++)
	{
		uint64_t	own = seed + n;
		size_t		j = set_slot(&seeds, sim_hash(&own, sizeof(own), prompt));

		if (++seeds.slots[j].count > 1)
			duplicates++;
	}
	return seen;
}

void
sim_stats_reset(void)
{
	epoch++;
	memset(&sim_stats, 0, sizeof(sim_stats));
	set_clear(&prompts);
	set_clear(&seeds);
	duplicates = most_requests = most_samples = 0;
	sim_fault_counts_reset();
	sim_stats_peaks();
}

unsigned
sim_stats_epoch(void)
{
	return epoch;
}

void
sim_stats_json(SimBuf *buf)
{
	sim_buf_puts(buf, "{");
	for (int i = 0; i < NNAMES; i++)
		sim_buf_printf(buf, "\"%s\":%llu,", names[i].name,
					   (unsigned long long) value_of(i));
	sim_buf_printf(buf,
				   "\"peak_running\":%d,\"peak_running_samples\":%d,\"peak_queued\":%d,\"peak_connections\":%d,",
				   sim_stats.peak_running, sim_stats.peak_slots,
				   sim_stats.peak_queued, sim_stats.peak_connections);
	sim_buf_printf(buf,
				   "\"distinct_prompts\":%zu,\"max_requests_per_prompt\":%u,\"max_samples_per_prompt\":%u,",
				   prompts.used, most_requests, most_samples);
	sim_buf_puts(buf, "\"failure_modes\":");
	sim_fault_counts_json(buf);
	sim_buf_puts(buf, "}\n");
}

static bool
holds(const struct SimWait *wait)
{
	for (int i = 0; i < wait->count; i++)
	{
		uint64_t	value = value_of(wait->conditions[i].name);
		uint64_t	target = wait->conditions[i].target;
		WaitOp		op = wait->conditions[i].op;

		if (op == WAIT_GE ? value < target :
			op == WAIT_LE ? value > target : value != target)
			return false;
	}
	return true;
}

static void
answer(SimRequest *req, int status)
{
	SimBuf		body = {0};

	sim_stats_wait_end(req);
	sim_timer_stop(&req->timer);
	sim_stats_json(&body);
	sim_reply_json(req, status, &body);
	sim_http_resume(req);
}

void
sim_stats_changed(void)
{
	SimRequest *req;
	SimRequest *next;

	for (req = LIST_FIRST(&waiters); req != NULL; req = next)
	{
		next = LIST_NEXT(req, waiter);
		if (holds(req->wait))
			answer(req, 200);
	}
}

static void
time_out(SimTimer *timer, void *arg)
{
	(void) timer;
	answer(arg, 408);
}

/*
 * One query parameter: NAME=N waits for at least N (N = 0: for exactly 0),
 * NAME=eqN and NAME=leN for exactly and at most N.
 */
static enum MHD_Result
add_condition(void *cls, enum MHD_ValueKind kind, const char *key,
			  const char *value)
{
	struct SimWait *wait = cls;
	int			name = 0;
	WaitOp		op = WAIT_GE;
	char	   *end;

	(void) kind;
	if (strcmp(key, "timeout_ms") == 0)
		return MHD_YES;
	while (name < NNAMES && strcmp(names[name].name, key) != 0)
		name++;
	if (value == NULL || name == NNAMES || wait->count == SIM_MAX_CONDITIONS)
	{
		wait->count = -1;
		return MHD_NO;
	}
	if (strncmp(value, "eq", 2) == 0 || strncmp(value, "le", 2) == 0 ||
		strncmp(value, "ge", 2) == 0)
	{
		op = value[0] == 'e' ? WAIT_EQ : value[0] == 'l' ? WAIT_LE : WAIT_GE;
		value += 2;
	}
	else if (strcmp(value, "0") == 0)
		op = WAIT_EQ;
	wait->conditions[wait->count].name = name;
	wait->conditions[wait->count].op = op;
	wait->conditions[wait->count].target = strtoull(value, &end, 10);
	if (*end != '\0' || end == value)
	{
		wait->count = -1;
		return MHD_NO;
	}
	wait->count++;
	return MHD_YES;
}

void
sim_stats_wait(SimRequest *req)
{
	const char *timeout = sim_http_arg(req, "timeout_ms");
	long		ms = timeout ? atol(timeout) : 10000;

	req->wait = sim_alloc(sizeof(*req->wait));
	MHD_get_connection_values(req->mhd, MHD_GET_ARGUMENT_KIND, add_condition,
							  req->wait);
	if (req->wait->count <= 0)
	{
		free(req->wait);
		req->wait = NULL;
		sim_error_simple(req, 400, NULL, "/sim/wait wants NAME=[eq|le|ge]N, with a NAME of /sim/stats");
		return;
	}
	req->state = SIM_WAITING;
	LIST_INSERT_HEAD(&waiters, req, waiter);
	if (holds(req->wait))
		answer(req, 200);
	else
		sim_timer_set(&req->timer, sim_now() + (uint64_t) ms * 1000, time_out,
					  req);
}

void
sim_stats_wait_end(SimRequest *req)
{
	if (req->wait == NULL)
		return;
	LIST_REMOVE(req, waiter);
	free(req->wait);
	req->wait = NULL;
}
