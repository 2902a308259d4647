/*-------------------------------------------------------------------------
 *
 * hub.c
 *		What hubs are asked and told, and what becomes of it.
 *
 * A look-up (an RstarHubItem) goes through these lists of its hub:
 *
 *	wanted		to be asked; also one that is known in part, for the rest
 *	asked		in the statement under way, in its order
 *	elsewhere	somebody else pays for it: wanted again after a while
 *	leased		the request is queued here, and the hub holds the others back
 *	ending		it has ended: the lease goes back with the next question
 *
 * Answers are told in statements of their own, before the leases of their
 * pairs go back: who gets a lease next finds them committed.  While the hub is
 * away everything that it was to be asked is queued, as without it, and answers
 * wait for a while.  What it knows answers requests at once, and comes into
 * our table afterwards.
 *
 * Who pays elsewhere may have queued the pair behind many others: after a minute
 * it is paid for here, too.
 *
 * This process alone has all this: should it end, the hub gives the leases to
 * others as the connection ends, and requests that have waited for a look-up
 * are looked up again.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "shared/hubs.h"
#include "shared/lookup.h"
#include "worker/held.h"
#include "worker/hub.h"
#include "worker/hub_item.h"
#include "worker/hub_server.h"
#include "worker/import.h"
#include "worker/peer.h"
#include "worker/peer_calls.h"

/* us: who pays elsewhere is asked for again */
#define ELSEWHERE_FIRST INT64CONST(50000)
#define ELSEWHERE_MAX INT64CONST(1000000)

/* us: which leases may go is looked at so often; the hub hears of us at least so often */
#define ENDED_INTERVAL INT64CONST(100000)
#define CALL_INTERVAL INT64CONST(2000000)

/* Answers that wait for a hub, and for how long the worker stays for them (us) */
#define MAX_PUTS 20000
#define PATIENCE INT64CONST(60000000)

typedef struct RstarHub
{
	dlist_node	link;
	RstarPeer  *peer;
	dlist_head	wanted;			/* of RstarHubItems */
	dlist_head	asked;
	dlist_head	elsewhere;
	dlist_head	leased;
	dlist_head	ending;
	dlist_head	returned;		/* those of the statement under way */
	dlist_head	puts;			/* of Puts */
	dlist_head	putting;		/* those of the statement under way */
	int			nputs;
	bool		put_fails;		/* and that has been said */
	bool		told_last;		/* the last statement was a put */
	int64		elsewhere_due;	/* us; PG_INT64_MAX: there are none */
	int64		ended_due;		/* us: when to look which leases may go */
	int64		called_at;		/* us */
} Hub;

typedef struct Put
{
	dlist_node	link;
	RstarTold	told;
	RstarHubServer *server;
} Put;

static dlist_head hubs = DLIST_STATIC_INIT(hubs);

static void leave(int code, Datum arg);
static void take_wanted(int64 now);
static void take_untold(int max);
static Hub *find_hub(const char *name, Oid owner);
static void hub_turn(Hub *hub, int64 now);
static bool asks(Hub *hub, int64 now);
static void elsewhere_again(Hub *hub, int64 now);
static void look_for_ended(Hub *hub);
static void send_put(Hub *hub, int64 now);
static void send_ask(Hub *hub, int64 now);
static void statement_done(RstarPeer *peer, const struct pg_result *result, const char *error);
static void put_done(Hub *hub, bool stored, const char *error);
static bool ask_done(Hub *hub, const struct pg_result *result, int64 now);
static void settle(Hub *hub, RstarHubItem **items, RstarFinding *findings, int n, int64 now);
static void give_up(Hub *hub);
static void give_up_puts(Hub *hub);

int
rstar_hub_init(void)
{
	int			fd = rstar_peer_init();

	before_shmem_exit(leave, (Datum) 0);
	return fd;
}

static void
leave(int code, Datum arg)
{
	rstar_hub_leave();
}

/* What was not told will not be: the answers are in our table */
void
rstar_hub_leave(void)
{
	static bool left = false;
	dlist_iter	iter;

	if (left)
		return;
	left = true;
	dlist_foreach(iter, &hubs)
	{
		Hub		   *hub = dlist_container(Hub, link, iter.cur);

		rstar_hub_items_move(&hub->puts, &hub->putting);
		give_up_puts(hub);
	}
	rstar_hub_server_publish();
	rstar_peer_close_all();
	rstar_hubs_leave();
}

void
rstar_hub_turn(const RstarLoad *load, int64 now)
{
	dlist_iter	iter;

	/* On a standby nothing is stored with which they could be told */
	if (load->untold > 0 && RecoveryInProgress())
		take_untold(MAX_PUTS);
	if (load->lookups > 0)
		take_wanted(now);
	dlist_foreach(iter, &hubs)
		hub_turn(dlist_container(Hub, link, iter.cur), now);
	rstar_held_turn(now);
	rstar_import_turn(now, false);
	rstar_hub_server_publish();
}

void
rstar_hub_tell(int max)
{
	take_untold(max);
}

void
rstar_hub_poll(void)
{
	rstar_peer_poll(rstar_clock());
}

int64
rstar_hub_wake(void)
{
	int64		wake = Min(rstar_peer_wake(), Min(rstar_held_wake(), rstar_import_wake()));
	dlist_iter	iter;

	dlist_foreach(iter, &hubs)
	{
		Hub		   *hub = dlist_container(Hub, link, iter.cur);

		wake = Min(wake, hub->elsewhere_due);
		if (!dlist_is_empty(&hub->leased) && hub->peer->state == RSTAR_PEER_READY)
			wake = Min(wake, hub->ended_due);

		/*
		 * It went away in this turn: what it was to be asked is given up in
		 * the next one
		 */
		if (hub->peer->state == RSTAR_PEER_CLOSED &&
			(!dlist_is_empty(&hub->asked) ||
			 (rstar_peer_away(hub->peer) &&
			  (!dlist_is_empty(&hub->wanted) || !dlist_is_empty(&hub->elsewhere)))))
			wake = 0;
		if (!dlist_is_empty(&hub->puts) && hub->peer->state == RSTAR_PEER_CLOSED)
			wake = Min(wake, hub->peer->due);
	}
	return wake;
}

/* For a hub that is away it does not stay for ever */
bool
rstar_hub_busy(void)
{
	dlist_iter	iter;

	dlist_foreach(iter, &hubs)
	{
		Hub		   *hub = dlist_container(Hub, link, iter.cur);

		if (rstar_peer_away(hub->peer) && rstar_clock() - hub->peer->failing_since > PATIENCE)
			continue;
		if (!dlist_is_empty(&hub->puts) || !dlist_is_empty(&hub->putting))
			return true;
	}
	return rstar_import_wake() != PG_INT64_MAX;
}

/* Each goes to its hub's list, or to its own table's, or is queued */
static void
take_wanted(int64 now)
{
	RstarLookup lookups[RSTAR_HUB_BATCH];
	int			n;

	do
	{
		n = rstar_lookup_take(lookups, RSTAR_HUB_BATCH);
		for (int i = 0; i < n; i++)
		{
			RstarHubServer *server;
			RstarHubItem *item;

			if (!lookups[i].shared)
			{
				rstar_held_add(&lookups[i], now);
				continue;
			}
			server = rstar_hub_server_find(lookups[i].serverid, find_hub);
			if (server->hub == NULL || rstar_peer_away(server->hub->peer))
			{
				RstarFinding finding = {.lookup = &lookups[i],.found = RSTAR_FOUND_OURS};

				rstar_lookup_found(&finding, 1);
				if (server->hub != NULL)
					rstar_peer_want(server->hub->peer, now);
				continue;
			}
			item = MemoryContextAllocZero(TopMemoryContext, sizeof(RstarHubItem));
			item->lookup = lookups[i];
			item->server = server;
			item->delay = ELSEWHERE_FIRST;
			item->since = now;
			dlist_push_tail(&server->hub->wanted, &item->link);
			rstar_hub_server_count(server, RSTAR_HUB_ASKED, 1);
		}
	} while (n == RSTAR_HUB_BATCH);
}

static void
take_untold(int max)
{
	RstarTold  *told = palloc(RSTAR_HUB_BATCH * sizeof(RstarTold));
	int			n;

	do
	{
		n = rstar_lookup_untold(told, Min(RSTAR_HUB_BATCH, max));
		max -= n;
		for (int i = 0; i < n; i++)
		{
			RstarHubServer *server = rstar_hub_server_find(told[i].serverid, find_hub);
			Hub		   *hub = server->hub;
			Put		   *put;

			if (hub == NULL)
			{
				rstar_hub_server_count(server, RSTAR_HUB_UNTOLD, 1);
				continue;
			}
			put = MemoryContextAlloc(TopMemoryContext, sizeof(Put));
			put->told = told[i];
			put->server = server;
			dlist_push_tail(&hub->puts, &put->link);
			if (++hub->nputs > MAX_PUTS)
			{
				Put		   *oldest = dlist_container(Put, link, dlist_pop_head_node(&hub->puts));

				hub->nputs--;
				rstar_hub_server_count(oldest->server, RSTAR_HUB_UNTOLD, 1);
				pfree(oldest);
			}
		}
	} while (n == RSTAR_HUB_BATCH);
	pfree(told);
}

static Hub *
find_hub(const char *name, Oid owner)
{
	Hub		   *hub;
	dlist_iter	iter;

	dlist_foreach(iter, &hubs)
	{
		hub = dlist_container(Hub, link, iter.cur);
		if (hub->peer->owner == owner && strncmp(hub->peer->name, name, NAMEDATALEN - 1) == 0)
		{
			hub->peer->announce = true;
			return hub;
		}
	}
	hub = MemoryContextAllocZero(TopMemoryContext, sizeof(Hub));
	hub->peer = rstar_peer_make(name, owner, statement_done, hub);
	hub->peer->announce = true;
	dlist_init(&hub->wanted);
	dlist_init(&hub->asked);
	dlist_init(&hub->elsewhere);
	dlist_init(&hub->leased);
	dlist_init(&hub->ending);
	dlist_init(&hub->returned);
	dlist_init(&hub->puts);
	dlist_init(&hub->putting);
	hub->elsewhere_due = PG_INT64_MAX;
	dlist_push_tail(&hubs, &hub->link);
	return hub;
}

static void
hub_turn(Hub *hub, int64 now)
{
	RstarPeer  *peer = hub->peer;

	elsewhere_again(hub, now);
	if (peer->state <= RSTAR_PEER_CONNECTING && (rstar_peer_away(peer) || !dlist_is_empty(&hub->leased)))
		give_up(hub);
	if (!dlist_is_empty(&hub->wanted) || !dlist_is_empty(&hub->puts))
		rstar_peer_want(peer, now);
	if (peer->announce)
		rstar_hub_server_announce(hub, peer, hub->put_fails);
	peer->announce = false;
	if (peer->state != RSTAR_PEER_READY)
		return;
	/* In turns, when there is always more to tell */
	if (!dlist_is_empty(&hub->puts) && !(hub->told_last && asks(hub, now)))
	{
		hub->told_last = true;
		send_put(hub, now);
		return;
	}
	/* What is in "ending" was told; what ends now may be among the puts */
	if (dlist_is_empty(&hub->puts) && !dlist_is_empty(&hub->leased) && now >= hub->ended_due)
	{
		look_for_ended(hub);
		hub->ended_due = now + ENDED_INTERVAL;
	}
	if (asks(hub, now))
	{
		hub->told_last = false;
		send_ask(hub, now);
	}
}

static bool
asks(Hub *hub, int64 now)
{
	return !dlist_is_empty(&hub->wanted) || !dlist_is_empty(&hub->ending) ||
		(!dlist_is_empty(&hub->leased) && now - hub->called_at >= CALL_INTERVAL);
}

static void
elsewhere_again(Hub *hub, int64 now)
{
	dlist_mutable_iter iter;

	if (now < hub->elsewhere_due)
		return;
	hub->elsewhere_due = PG_INT64_MAX;
	dlist_foreach_modify(iter, &hub->elsewhere)
	{
		RstarHubItem *item = dlist_container(RstarHubItem, link, iter.cur);

		if (now < item->due)
			hub->elsewhere_due = Min(hub->elsewhere_due, item->due);
		else
		{
			dlist_delete(&item->link);
			dlist_push_tail(&hub->wanted, &item->link);
		}
	}
}

static void
look_for_ended(Hub *hub)
{
	RstarHubItem *items[RSTAR_HUB_BATCH];
	RstarLookup lookups[RSTAR_HUB_BATCH];
	bool		ended[RSTAR_HUB_BATCH];
	dlist_head	still = DLIST_STATIC_INIT(still);

	while (!dlist_is_empty(&hub->leased))
	{
		int			n = 0;

		while (n < RSTAR_HUB_BATCH && !dlist_is_empty(&hub->leased))
		{
			items[n] = dlist_container(RstarHubItem, link, dlist_pop_head_node(&hub->leased));
			lookups[n] = items[n]->lookup;
			n++;
		}
		rstar_lookup_ended(lookups, n, ended);
		for (int i = 0; i < n; i++)
			dlist_push_tail(ended[i] ? &hub->ending : &still, &items[i]->link);
	}
	rstar_hub_items_move(&hub->leased, &still);
}

static void
send_put(Hub *hub, int64 now)
{
	const RstarTold **told = palloc(RSTAR_PEER_KEYS * sizeof(RstarTold *));
	int			n = 0;

	while (n < RSTAR_PEER_KEYS && !dlist_is_empty(&hub->puts))
	{
		Put		   *put = dlist_container(Put, link, dlist_pop_head_node(&hub->puts));

		dlist_push_tail(&hub->putting, &put->link);
		told[n++] = &put->told;
	}
	rstar_peer_put(hub->peer, told, n, now);
}

static void
send_ask(Hub *hub, int64 now)
{
	const RstarLookup **lookups = palloc(RSTAR_PEER_KEYS * sizeof(RstarLookup *));
	const RstarKey **done = palloc(RSTAR_PEER_KEYS * sizeof(RstarKey *));
	int			n = 0;
	int			ndone = 0;

	while (n < RSTAR_PEER_KEYS && !dlist_is_empty(&hub->wanted))
	{
		RstarHubItem *item = dlist_container(RstarHubItem, link, dlist_pop_head_node(&hub->wanted));

		dlist_push_tail(&hub->asked, &item->link);
		lookups[n++] = &item->lookup;
	}
	while (ndone < RSTAR_PEER_KEYS && !dlist_is_empty(&hub->ending))
	{
		RstarHubItem *item = dlist_container(RstarHubItem, link, dlist_pop_head_node(&hub->ending));

		dlist_push_tail(&hub->returned, &item->link);
		done[ndone++] = &item->lookup.key;
	}
	hub->called_at = now;
	rstar_peer_ask(hub->peer, lookups, n, done, ndone, now);
}

/* Called by rstar_peer_poll(), or while a statement is sent */
static void
statement_done(RstarPeer *peer, const struct pg_result *result, const char *error)
{
	Hub		   *hub = peer->data;
	int64		now = rstar_clock();

	if (!dlist_is_empty(&hub->putting))
	{
		if (peer->state == RSTAR_PEER_CLOSED)
		{
			/* Perhaps it was stored: to tell it again does no harm */
			rstar_hub_items_move(&hub->putting, &hub->puts);
			rstar_hub_items_move(&hub->puts, &hub->putting);
		}
		else
			put_done(hub, result != NULL, error);
	}
	else if (result == NULL || !ask_done(hub, result, now))
	{
		if (peer->state != RSTAR_PEER_CLOSED)
			rstar_peer_fail(peer, error ? error : "it does not answer as retrostar does", now);
	}
}

/* A hub may be unable to store, and still know much */
static void
put_done(Hub *hub, bool stored, const char *error)
{
	while (!dlist_is_empty(&hub->putting))
	{
		Put		   *put = dlist_container(Put, link, dlist_pop_head_node(&hub->putting));

		rstar_hub_server_count(put->server, stored ? RSTAR_HUB_TOLD : RSTAR_HUB_UNTOLD, 1);
		hub->nputs--;
		pfree(put);
	}
	if (!stored)
	{
		strlcpy(hub->peer->error, error, sizeof(hub->peer->error));
		hub->peer->announce = true;
	}
	if (!stored && !hub->put_fails)
		ereport(LOG,
				(errmsg("the shared cache of server \"%s\" does not take what it is told", hub->peer->name),
				 errdetail_internal("%s", error)));
	if (stored && hub->put_fails)
		ereport(LOG, (errmsg("the shared cache of server \"%s\" takes again what it is told", hub->peer->name)));
	hub->put_fails = !stored;
}

/* False: it makes no sense */
static bool
ask_done(Hub *hub, const struct pg_result *result, int64 now)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "retrostar answers",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	RstarPeerAnswer *answers = palloc(RSTAR_HUB_BATCH * sizeof(RstarPeerAnswer));
	int			lines = rstar_peer_lines(result);
	int			line = 0;
	bool		valid = lines >= 0;

	while (valid && line < lines)
	{
		RstarHubItem *items[RSTAR_HUB_BATCH];
		RstarFinding findings[RSTAR_HUB_BATCH];
		int			n = 0;

		while (n < RSTAR_HUB_BATCH && line < lines && valid)
		{
			RstarPeerAnswer *answer = &answers[n];

			valid = !dlist_is_empty(&hub->asked) && rstar_peer_read(result, line++, answer);
			if (!valid)
				break;
			items[n] = dlist_container(RstarHubItem, link, dlist_pop_head_node(&hub->asked));
			memset(&findings[n], 0, sizeof(RstarFinding));
			findings[n].lookup = &items[n]->lookup;
			/* Or it would be asked again and again */
			if (answer->found == RSTAR_FOUND_KNOWN &&
				answer->tally.scored + answer->tally.unscored <= items[n]->lookup.have)
				answer->found = RSTAR_FOUND_OURS;
			findings[n].found = answer->found;
			findings[n].known = &answer->tally;
			answer->row.key = items[n]->lookup.key;
			if (answer->found == RSTAR_FOUND_KNOWN)
				rstar_import_add(&answer->row);
			n++;
		}
		settle(hub, items, findings, n, now);
	}
	valid = valid && dlist_is_empty(&hub->asked);
	rstar_hub_items_free(&hub->returned);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return valid;
}

static void
settle(Hub *hub, RstarHubItem **items, RstarFinding *findings, int n, int64 now)
{
	rstar_lookup_found(findings, n);
	for (int i = 0; i < n; i++)
	{
		RstarHubItem *item = items[i];
		bool		ours = findings[i].found == RSTAR_FOUND_OURS;

		if (ours)
		{
			/* Also of one that is gone: the lease is to go back */
			if (findings[i].outcome == RSTAR_LOOKED_UP_QUEUED)
				rstar_hub_server_count(item->server, RSTAR_HUB_PAID, 1);
			dlist_push_tail(&hub->leased, &item->link);
		}
		else if (findings[i].outcome != RSTAR_LOOKED_UP_MORE)
		{
			if (findings[i].outcome == RSTAR_LOOKED_UP_ANSWERED)
				rstar_hub_server_count(item->server, RSTAR_HUB_KNOWN, 1);
			pfree(item);
		}
		else if (findings[i].found == RSTAR_FOUND_KNOWN)
			dlist_push_tail(&hub->wanted, &item->link);
		else if (now - item->since >= RSTAR_ELSEWHERE_PATIENCE)
		{
			findings[i].found = RSTAR_FOUND_OURS;
			rstar_lookup_found(&findings[i], 1);
			if (findings[i].outcome == RSTAR_LOOKED_UP_QUEUED)
				rstar_hub_server_count(item->server, RSTAR_HUB_PAID, 1);
			pfree(item);
		}
		else
		{
			if (!item->elsewhere)
				rstar_hub_server_count(item->server, RSTAR_HUB_ELSEWHERE, 1);
			item->elsewhere = true;
			item->due = now + item->delay;
			item->delay = Min(item->delay * 2, ELSEWHERE_MAX);
			hub->elsewhere_due = Min(hub->elsewhere_due, item->due);
			dlist_push_tail(&hub->elsewhere, &item->link);
		}
	}
}

/* It is away: what it was to be asked is queued, and leases have gone with the connection */
static void
give_up(Hub *hub)
{
	rstar_hub_items_queue(&hub->asked);
	if (rstar_peer_away(hub->peer))
	{
		rstar_hub_items_queue(&hub->wanted);
		rstar_hub_items_queue(&hub->elsewhere);
		hub->elsewhere_due = PG_INT64_MAX;
	}

	/*
	 * Leases went with the connection: those that are queued are asked for
	 * again
	 */
	if (rstar_peer_away(hub->peer))
		rstar_hub_items_free(&hub->leased);
	else
		rstar_hub_items_move(&hub->wanted, &hub->leased);
	rstar_hub_items_free(&hub->ending);
	rstar_hub_items_free(&hub->returned);
}

static void
give_up_puts(Hub *hub)
{
	while (!dlist_is_empty(&hub->puts))
	{
		Put		   *put = dlist_container(Put, link, dlist_pop_head_node(&hub->puts));

		rstar_hub_server_count(put->server, RSTAR_HUB_UNTOLD, 1);
		pfree(put);
	}
	hub->nputs = 0;
}
