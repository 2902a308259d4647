/*-------------------------------------------------------------------------
 *
 * worker.c
 *		The background worker of one database: its loop, its sleep, its end.
 *
 * One turn of the loop claims what can be sent, moves the network on,
 * publishes what came, and stores answers when enough of them wait or have
 * waited long enough.  Between turns it sleeps on one wait event set, which
 * lives as long as the worker: latch, postmaster death, curl's sockets as one
 * epoll descriptor, and those of hubs (hub.c) as another.
 *
 * No transaction is open while it sleeps.  Transactions are short: loading
 * servers (target.c), storing answers (store.c).
 *
 * It ends when it has had nothing to do for a while, when it is asked to
 * (SIGTERM, launch.c), or by an error.  However it ends short of a crash,
 * what was in flight is queued again, and while there is work the next worker
 * comes: the one that it registers or, when it ends by an error or there is no
 * worker slot but its own, the one that the postmaster starts in that slot.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/settings.h"
#include "model/server.h"
#include "shared/counters.h"
#include "shared/dispatch.h"
#include "shared/launch.h"
#include "shared/state.h"
#include "shared/unstored.h"
#include "worker/account.h"
#include "worker/http.h"
#include "worker/hub.h"
#include "worker/import.h"
#include "worker/send.h"
#include "worker/share.h"
#include "worker/store.h"

/* Samples claimed under one hold of the lock */
#define CLAIM_BATCH 64

/* Answers are stored when so many wait, or the first has waited so long (us) */
#define STORE_BATCH 256
#define STORE_DELAY INT64CONST(100000)

/* After a failure storing is tried again, at growing intervals (us) */
#define STORE_RETRY_FIRST INT64CONST(500000)
#define STORE_RETRY_MAX INT64CONST(10000000)

/* pg_stat_activity is told the load at most this often (us) */
#define REPORT_INTERVAL INT64CONST(1000000)

/* While pairs wait, it is looked this often whether their server was altered (us) */
#define CATALOG_INTERVAL INT64CONST(1000000)

/* While budgets are to be read, that is tried this often (us) */
#define BUDGET_INTERVAL INT64CONST(100000)

/* When the next store is due */
typedef struct StoreTimer
{
	int64		due;			/* 0: nothing to store */
	int64		retry_delay;	/* 0: the last one worked */
	int64		refused_due;	/* what the table did not take is tried again;
								 * 0: there is none */
	int64		refused_delay;
} StoreTimer;

PGDLLEXPORT void rstar_worker_main(Datum arg);

static WaitEventSet *wait_set = NULL;

/* Samples in flight that pg_stat_activity shows; -1: it shows something else */
static int	reported = -1;

static void set_up(Oid dboid);
static void keep_out_of_log(void);
static void set_setting(const char *name, const char *value);
static void worker_exit(int code, Datum arg);
static bool leave(bool lost);
static bool claim(int64 now);
static void close_cancelled(void);
static bool try_refused(StoreTimer *timer, const RstarLoad *load, int64 now);
static int64 retry_delay(int64 last);
static bool usage_due(const RstarLoad *load, int64 now);
static bool store(StoreTimer *timer, const RstarLoad *load, int64 now);
static void store_rest(StoreTimer *timer, int64 now);
static RstarAnswered *sort_answers(const RstarAnswered *answers, int *n);
static int	compare_answers(const void *a, const void *b);
static bool idle_long_enough(const RstarLoad *load, int64 now, int64 *idle_since);
static void sleep_until(int64 due, int64 now);
static int64 report(const RstarLoad *load, int64 now);

void
rstar_worker_main(Datum arg)
{
	MemoryContext turn_context;
	StoreTimer	store_timer = {0};
	int64		idle_since = 0;

	set_up(DatumGetObjectId(arg));
	turn_context = AllocSetContextCreate(TopMemoryContext, "retrostar turn",
										 ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(turn_context);
	for (;;)
	{
		RstarLoad	load;
		int64		now = rstar_clock();
		int64		due;
		bool		more;

		MemoryContextReset(turn_context);
		QueryCancelPending = false; /* there is no query of its own to cancel */
		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (ShutdownRequestPending || rstar_launch_leaving())
		{
			store_rest(&store_timer, now);
			proc_exit(leave(false) ? 0 : 1);
		}
		AcceptInvalidationMessages();

		close_cancelled();
		rstar_send_turn(now);
		more = claim(now);
		rstar_account_read();
		rstar_state_load(&load);
		rstar_hub_turn(&load, now);
		if (store(&store_timer, &load, now))
			rstar_state_load(&load);
		if (try_refused(&store_timer, &load, now))
			rstar_state_load(&load);
		rstar_dispatch_turn_done();
		due = report(&load, now);

		if (idle_long_enough(&load, now, &idle_since) && rstar_launch_retire())
			proc_exit(0);
		rstar_http_flush();
		due = Min(due, Min(rstar_send_wake(), rstar_hub_wake()));
		if (load.waiting > 0 && !load.paused)
			due = Min(due, now + CATALOG_INTERVAL);
		if (store_timer.due > 0)
			due = Min(due, store_timer.due);
		else if (load.unstored > 0)
			due = now;
		else if (load.usage > 0 && !RecoveryInProgress())
			due = Min(due, Max(rstar_account_due(), now));
		if (load.unread > 0)
			due = Min(due, now + BUDGET_INTERVAL);
		if (store_timer.refused_due > 0)
			due = Min(due, store_timer.refused_due);
		if (more)
			due = now;
		if (idle_since > 0)
			due = Min(due, idle_since + rstar_worker_idle_timeout * INT64CONST(1000));
		sleep_until(due, now);

		/*
		 * What is logged there looks for interrupts, and a cancel would raise
		 * an error
		 */
		HOLD_INTERRUPTS();
		rstar_http_poll();
		rstar_hub_poll();
		RESUME_INTERRUPTS();
	}
}

static void
set_up(Oid dboid)
{
	int			epoll_fd;
	int			max;

	pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGPIPE, RSTAR_SIG_IGN);
	BackgroundWorkerUnblockSignals();

	if (!rstar_launch_started(dboid))
		proc_exit(0);
	before_shmem_exit(worker_exit, (Datum) 0);
	BackgroundWorkerInitializeConnectionByOid(dboid, InvalidOid, 0);

	/* Stores must not depend on what the database or role has set */
	set_setting("role", "none");
	set_setting("default_transaction_read_only", "off");
	set_setting("default_transaction_isolation", "read committed");
	set_setting("synchronous_commit", "off");
	set_setting("lock_timeout", "100ms");
	set_setting("statement_timeout", "0");
	if (GetConfigOption("transaction_timeout", true, false) != NULL)
		set_setting("transaction_timeout", "0");	/* since PostgreSQL 17 */
	set_setting("idle_in_transaction_session_timeout", "0");
	set_setting("search_path", "pg_catalog, pg_temp");
	set_setting("row_security", "off");
	set_setting("session_replication_role", "origin");
	set_setting("jit", "off");
	keep_out_of_log();

	epoll_fd = rstar_http_init(&max);
	rstar_server_init();
	rstar_account_init();
	rstar_send_init(max);
	wait_set = rstar_create_wait_event_set(4);
	AddWaitEventToSet(wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(wait_set, WL_SOCKET_READABLE, epoll_fd, NULL, NULL);
	AddWaitEventToSet(wait_set, WL_SOCKET_READABLE, rstar_hub_init(), NULL, NULL);
	rstar_launch_connected();
}

/*
 * What is stored has replies in it, which may quote documents.  It reaches the
 * statement as parameters, which a generic plan does not hold, and nobody else
 * is to show plans or parameters of ours.  Where such a module is not there,
 * its setting is a name without a meaning.  The statement itself may be audited.
 */
static void
keep_out_of_log(void)
{
	set_setting("plan_cache_mode", "force_generic_plan");
	set_setting("debug_print_parse", "off");
	set_setting("debug_print_rewritten", "off");
	set_setting("debug_print_plan", "off");
	set_setting("auto_explain.log_min_duration", "-1");
	set_setting("pgaudit.log_parameter", "off");
}

static void
set_setting(const char *name, const char *value)
{
	SetConfigOption(name, value, PGC_SUSET, PGC_S_OVERRIDE);
}

/* By an error, not by a request: then a request in flight may be the reason */
static void
worker_exit(int code, Datum arg)
{
	(void) leave(code != 0);
}

/* False: the next worker is to be started in our place, for which we end with 1 */
static bool
leave(bool lost)
{
	/* First: the next worker may take them as soon as this one has left */
	rstar_counters_leave();
	rstar_hub_leave();
	return !rstar_dispatch_leave(lost) || (!lost && rstar_launch_successor(MyDatabaseId));
}

/* True: the next turn may claim more, whatever happens until then */
static bool
claim(int64 now)
{
	RstarClaim	claims[CLAIM_BATCH];
	bool		more = false;
	int			n;

	do
	{
		n = rstar_dispatch_claim(claims, Min(CLAIM_BATCH, rstar_send_room()), rstar_share_admit);
		if (n > 0)
			more |= rstar_send_claims(claims, n, now);
	} while (n == CLAIM_BATCH);
	rstar_send_background(now);
	return more;
}

static void
close_cancelled(void)
{
	struct RstarRequest *request;
	int			slot;

	while ((request = rstar_dispatch_cancelled(&slot)) != NULL)
		rstar_dispatch_dropped(request, rstar_send_cancel(slot));
}

/* True: what was refused is to be stored, and the load is another */
static bool
try_refused(StoreTimer *timer, const RstarLoad *load, int64 now)
{
	if (load->refused == 0)
	{
		timer->refused_due = 0;
		if (load->unstored == 0)
			timer->refused_delay = 0;
		return false;
	}
	if (timer->refused_due == 0)
	{
		timer->refused_delay = retry_delay(timer->refused_delay);
		timer->refused_due = now + timer->refused_delay;
	}
	if (now < timer->refused_due)
		return false;
	timer->refused_due = 0;
	rstar_unstored_try_refused();
	return true;
}

static int64
retry_delay(int64 last)
{
	return Min(Max(last * 2, STORE_RETRY_FIRST), STORE_RETRY_MAX);
}

/* True: it was tried, and the load may be another */
static bool
store(StoreTimer *timer, const RstarLoad *load, int64 now)
{
	RstarAnswered *answers;
	RstarStored stored;
	int			n;

	if (load->unstored == 0 && !usage_due(load, now))
	{
		timer->due = 0;
		return false;
	}
	if (timer->due == 0)
		timer->due = now + STORE_DELAY;
	if (now < timer->due && (load->unstored < STORE_BATCH || timer->retry_delay > 0))
		return false;

	rstar_import_turn(now, true);
	if (load->untold > 0)
		rstar_hub_tell(STORE_BATCH);
	answers = palloc(STORE_BATCH * sizeof(RstarAnswered));
	n = rstar_unstored_copy(answers, STORE_BATCH);
	answers = sort_answers(answers, &n);
	reported = -1;
	rstar_unstored_reasoning(answers, n);
	rstar_account_begin(answers, n);
	stored = rstar_store_answers(answers, n);
	switch (stored)
	{
		case RSTAR_STORED:
			rstar_unstored_done(answers, n, rstar_account_end());
			timer->retry_delay = 0;
			timer->due = 0;
			break;
		case RSTAR_STORED_NO_TABLE:
			rstar_unstored_discard(answers, n, rstar_account_end());
			timer->due = 0;
			break;
		case RSTAR_STORED_LATER:
		case RSTAR_STORED_STANDBY:
			rstar_unstored_kept(stored == RSTAR_STORED_LATER);
			timer->retry_delay = retry_delay(timer->retry_delay);
			timer->due = now + timer->retry_delay;
			break;
		case RSTAR_STORED_AGAIN:
			Assert(false);
			break;
	}
	return true;
}

/* Usage that no answer brings along; while it cannot be written, it waits for that alone */
static bool
usage_due(const RstarLoad *load, int64 now)
{
	return load->usage > 0 && now >= rstar_account_due() && !RecoveryInProgress();
}

/*
 * The worker was asked to leave: what is answered is stored, unless that does
 * not work at the moment.  The server may be shutting down, and then nobody
 * else will.
 */
static void
store_rest(StoreTimer *timer, int64 now)
{
	RstarLoad	load;

	for (;;)
	{
		rstar_state_load(&load);
		if ((load.unstored == 0 && !usage_due(&load, now)) || timer->retry_delay > 0)
			return;
		timer->due = now;
		(void) store(timer, &load, now);
	}
}

/*
 * In the order of their keys.  One command cannot merge two answers into the
 * same row: of those with the same key (more samples were asked for meanwhile)
 * the later waits for the next.  Pointers are sorted: an answer is large.
 */
static RstarAnswered *
sort_answers(const RstarAnswered *answers, int *n)
{
	const RstarAnswered **order = palloc(*n * sizeof(RstarAnswered *));
	RstarAnswered *sorted = palloc(*n * sizeof(RstarAnswered));
	int			kept = 0;

	for (int i = 0; i < *n; i++)
		order[i] = &answers[i];
	qsort(order, *n, sizeof(RstarAnswered *), compare_answers);
	for (int i = 0; i < *n; i++)
	{
		if (kept == 0 ||
			memcmp(&sorted[kept - 1].key, &order[i]->key, sizeof(RstarKey)) != 0)
			sorted[kept++] = *order[i];
	}
	*n = kept;
	return sorted;
}

/* Samples of a key are stored in the order in which they were asked for */
static int
compare_answers(const void *a, const void *b)
{
	const RstarAnswered *x = *(RstarAnswered *const *) a;
	const RstarAnswered *y = *(RstarAnswered *const *) b;
	int			order = memcmp(&x->key, &y->key, sizeof(RstarKey));

	return order != 0 ? order : x->first_sample - y->first_sample;
}

static bool
idle_long_enough(const RstarLoad *load, int64 now, int64 *idle_since)
{
	if (load->waiting > 0 || load->running > 0 || load->unstored > 0 || load->refused > 0 ||
		load->unread > 0 || usage_due(load, now) || rstar_send_active() > 0 || rstar_hub_busy())
		*idle_since = 0;
	else if (*idle_since == 0)
		*idle_since = now;
	return *idle_since > 0 && now - *idle_since >= rstar_worker_idle_timeout * INT64CONST(1000);
}

static void
sleep_until(int64 due, int64 now)
{
	static uint32 wait_event = 0;
	WaitEvent	event;
	long		timeout = -1;
	long		http_timeout = rstar_http_timeout();
	long		gather = (long) rstar_send_gather();

	if (wait_event == 0)
		wait_event = rstar_wait_event("RetrostarWorker");
	if (due != PG_INT64_MAX)
		timeout = due <= now ? 0 : (long) Min((due - now + 999) / 1000, 60000);
	if (http_timeout >= 0 && (timeout < 0 || http_timeout < timeout))
		timeout = http_timeout;
	if (timeout != 0 && !rstar_dispatch_sleep())
		timeout = 0;
	if (WaitEventSetWait(wait_set, timeout, &event, 1, wait_event) != 1)
		return;
	if (event.events & WL_LATCH_SET)
		ResetLatch(MyLatch);
	else if (gather > 0)
		pg_usleep(gather);
}

/*
 * Tells pg_stat_activity what is going on, if that has changed and was not told
 * just now; returns when there will be something to tell (PG_INT64_MAX: when
 * something happens).
 */
static int64
report(const RstarLoad *load, int64 now)
{
	static int64 reported_at = 0;
	static int	counts[3] = {0};
	char		activity[100];
	int			active = rstar_send_active();
	int			flying = rstar_send_flying();
	int			fresh[] = {flying, active - flying, load->waiting};

	if (active == reported && memcmp(fresh, counts, sizeof(counts)) == 0)
		return PG_INT64_MAX;
	if (active > 0 && reported > 0 && now - reported_at < REPORT_INTERVAL)
		return reported_at + REPORT_INTERVAL;
	reported = active;
	reported_at = now;
	memcpy(counts, fresh, sizeof(counts));
	if (active == 0)
	{
		pgstat_report_activity(STATE_IDLE, NULL);
		return PG_INT64_MAX;
	}
	snprintf(activity, sizeof(activity), "%d samples in flight, %d to be sent again, %d pairs waiting",
			 fresh[0], fresh[1], fresh[2]);
	pgstat_report_activity(STATE_RUNNING, activity);
	return PG_INT64_MAX;
}
