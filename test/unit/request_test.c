/*-------------------------------------------------------------------------
 *
 * request_test.c
 *		Tests of src/shared/request.c: its check, which an assertion ends, sees
 *		each wrong state that is planted.
 *
 * The file is compiled with assertions, against PostgreSQL's headers; what it
 * calls of other files is here, and a failed assertion comes back to the case.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
/* First: postgres.h has a printf of its own, which only its library knows */
#include "check.h"

#include "postgres.h"

#include <setjmp.h>

#include "shared/hubs.h"
#include "shared/request.h"

/* What there is of the map */
static RstarShared shared;
static RstarDatabase db;
static RstarOwner owner;
static RstarRequest request;
static RstarWaiter waiter;
static RstarDetails some_details;

RstarShared *rstar_shared = &shared;

static jmp_buf failed;
static const char *assertion;

/*
 * What request.c calls
 */

static __attribute__((noreturn)) void
assertion_failed(const char *condition)
{
	assertion = condition;
	longjmp(failed, 1);
}

#if PG_VERSION_NUM >= 160000
void
ExceptionalCondition(const char *condition, const char *file, int line)
{
	assertion_failed(condition);
}
#else
void
ExceptionalCondition(const char *condition, const char *type, const char *file, int line)
{
	assertion_failed(condition);
}
#endif

dsa_area *
rstar_shmem_area(void)
{
	return NULL;
}

void
dsa_free(dsa_area *area, dsa_pointer pointer)
{
}

TimestampTz
GetCurrentTimestamp(void)
{
	return 1;
}

void
rstar_usage_add(RstarDatabase *of, const RstarUsage *usage)
{
}

void
rstar_budget_change(RstarHold *hold, int64 samples, int64 tokens)
{
}

void
rstar_budget_release(RstarHold *hold, bool spent)
{
	hold->n = 0;
}

RstarOwner *
rstar_shmem_orphans(RstarDatabase *of)
{
	return &owner;
}

void
rstar_hubs_count(Oid dboid, Oid serverid, RstarHubCount what, int64 n)
{
}

void
rstar_shmem_wake(RstarOwner *who)
{
}

void
rstar_shmem_wake_worker(RstarDatabase *of)
{
}

void
rstar_shmem_wake_space(bool all)
{
}

bool
rstar_details_any(const RstarDetails *details)
{
	return DsaPointerIsValid(details->first);
}

void
rstar_details_free(RstarDetails *details)
{
	memset(details, 0, sizeof(RstarDetails));
}

/*
 * States as they should be
 */

static void
make_free(void)
{
	memset(&shared, 0, sizeof(shared));
	memset(&db, 0, sizeof(db));
	memset(&owner, 0, sizeof(owner));
	memset(&request, 0, sizeof(request));
	memset(&waiter, 0, sizeof(waiter));
	shared.nrequests = 64;
	dlist_init(&shared.free_requests);
	dlist_init(&shared.free_waiters);
	for (int i = 0; i < RSTAR_NPRIORITIES; i++)
		dlist_init(&db.active[i]);
	dlist_init(&db.unstored);
	dlist_init(&db.refused);
	dlist_init(&db.to_close);
	dlist_init(&db.lookups);
	dlist_init(&db.untold);
	for (int i = 0; i < RSTAR_NPRIORITIES * RSTAR_LANES; i++)
		dlist_init(&owner.queue[i / RSTAR_LANES].lanes[i % RSTAR_LANES]);
	dlist_init(&owner.pending);
	dlist_init(&owner.ready);
	dlist_init(&request.waiters);
	request.db = &db;
	request.state = RSTAR_FREE;
	dlist_push_head(&shared.free_requests, &request.list);
}

/* A session waits for two samples of it */
static void
make_waiting(void)
{
	make_free();
	dlist_delete(&request.list);
	request.kind = RSTAR_KIND_SCORE;
	request.state = RSTAR_WAITING;
	request.wanted = 2;
	request.maker = &owner;
	owner.nrequests = 1;
	db.nrequests = 1;
	db.nwaiting = 1;
	db.counts.asked = 1;
	waiter.request = &request;
	waiter.owner = &owner;
	waiter.wanted = 2;
	dlist_push_tail(&request.waiters, &waiter.request_link);
	dlist_push_tail(&owner.pending, &waiter.owner_link);
	request.nwaiters = 1;
	rstar_request_enqueue(&request, &owner);
}

static void
make_running(void)
{
	make_waiting();
	request.state = RSTAR_RUNNING;
	db.nwaiting = 0;
	db.nrunning = 1;
	request.claimed = request.in_flight = 2;
	db.counts.samples_sent = db.counts.samples_running = 2;
	rstar_request_dequeue(&request);
}

static void
make_answered(void)
{
	make_running();
	request.in_flight = 0;
	request.scored = 2;
	db.counts.samples_running = 0;
	db.counts.samples_scored = 2;
	db.counts.answered = 1;
	rstar_request_finish(&request, RSTAR_ANSWERED);
	rstar_request_notify(&request);
}

static void
make_refused(void)
{
	make_answered();
	rstar_request_refused(&request);
}

/* Nobody waits any more, and its samples are in flight */
static void
make_cancelled(void)
{
	make_running();
	rstar_request_release_waiter(&waiter);
}

/*
 * Wrong ones
 */

static void
no_owner(void)
{
	request.owner = NULL;
}

static void
owner_without_queue(void)
{
	request.queued = false;
}

static void
not_in_its_lane(void)
{
	dlist_delete(&request.queue);
}

static void
in_flight(void)
{
	request.in_flight = 1;
	request.claimed = 2;
}

static void
more_in_flight_than_claimed(void)
{
	request.in_flight = 3;
}

static void
nothing_in_flight(void)
{
	request.in_flight = 0;
}

static void
unlisted(void)
{
	dlist_delete(&request.list);
}

static void
marked_as_unstored(void)
{
	request.unstored = true;
}

static void
stored_and_refused(void)
{
	request.unstored = false;
}

static void
not_counted_as_refused(void)
{
	db.nrefused = 0;
}

static void
queued_to_be_closed(void)
{
	rstar_request_enqueue(&request, &owner);
}

static void
findable(void)
{
	static dlist_head bucket;

	dlist_init(&bucket);
	dlist_push_head(&bucket, &request.bucket);
	request.findable = true;
}

static void
failed_and_findable(void)
{
	findable();
	request.state = RSTAR_FAILED;
}

static void
findable_without_bucket(void)
{
	request.findable = true;
}

static void
has_a_maker(void)
{
	request.maker = &owner;
}

static void
has_text(void)
{
	request.body = 8;
}

static void
has_details(void)
{
	some_details.first = 8;
	request.details = some_details;
}

static void
waiter_not_counted(void)
{
	request.nwaiters = 0;
}

static void
waited_for(void)
{
	dlist_push_tail(&request.waiters, &waiter.request_link);
	request.nwaiters = 1;
}

static void
waiter_not_there(void)
{
	request.nwaiters = 1;
}

static void
pair_not_counted(void)
{
	db.counts.asked--;
}

static void
looked_up_and_queued(void)
{
	request.looking = RSTAR_LOOKING_ASKED;
}

static void
neither_looked_up_nor_queued(void)
{
	rstar_request_dequeue(&request);
}

static void
to_be_looked_up_and_not_listed(void)
{
	rstar_request_dequeue(&request);
	rstar_request_look_up(&request);
	db.nlookups = 0;
}

static void
to_be_told_and_not_counted(void)
{
	request.shared = request.untold = true;
	dlist_push_tail(&db.untold, &request.tell);
}

static void
sample_not_counted(void)
{
	db.counts.samples_running--;
}

static const struct
{
	const char *name;
	void		(*make) (void);
	void		(*spoil) (void);
}			plants[] = {
	{"queued, and in no owner's queue", make_waiting, no_owner},
	{"an owner, and not queued", make_waiting, owner_without_queue},
	{"queued, and in no lane", make_waiting, not_in_its_lane},
	{"waiting, and in flight", make_waiting, in_flight},
	{"findable, and in no bucket", make_waiting, findable_without_bucket},
	{"a waiter that is not counted", make_waiting, waiter_not_counted},
	{"asked for, and not counted", make_waiting, pair_not_counted},
	{"looked up, and queued", make_waiting, looked_up_and_queued},
	{"waiting, neither queued nor looked up", make_waiting, neither_looked_up_nor_queued},
	{"to be looked up, and not counted", make_waiting, to_be_looked_up_and_not_listed},
	{"to be told, and not counted", make_answered, to_be_told_and_not_counted},
	{"running, and nothing in flight", make_running, nothing_in_flight},
	{"more in flight than claimed", make_running, more_in_flight_than_claimed},
	{"running, and unstored", make_running, marked_as_unstored},
	{"failed, and findable", make_running, failed_and_findable},
	{"a sample that is not counted", make_running, sample_not_counted},
	{"answered, and in flight", make_answered, in_flight},
	{"answered, and counted for its maker", make_answered, has_a_maker},
	{"unstored, and in no list", make_answered, unlisted},
	{"refused, and stored", make_refused, stored_and_refused},
	{"refused, and not counted as such", make_refused, not_counted_as_refused},
	{"to be closed, and queued", make_cancelled, queued_to_be_closed},
	{"to be closed, and findable", make_cancelled, findable},
	{"free, and not in the list of those", make_free, unlisted},
	{"free, and unstored", make_free, marked_as_unstored},
	{"free, and findable", make_free, findable},
	{"free, and counted for a maker", make_free, has_a_maker},
	{"free, with text", make_free, has_text},
	{"free, with details", make_free, has_details},
	{"free, and in flight", make_free, in_flight},
	{"free, and waited for", make_free, waited_for},
	{"a waiter that is counted, and not there", make_free, waiter_not_there},
};

/* The assertion that fails, or NULL */
static const char *
check(void)
{
	assertion = NULL;
	if (setjmp(failed) == 0)
		rstar_request_check(&request);
	return assertion;
}

static void
good_states(void)
{
	static void (*const makes[]) (void) = {
		make_free, make_waiting, make_running, make_answered, make_refused, make_cancelled
	};

	for (size_t i = 0; i < lengthof(makes); i++)
	{
		makes[i] ();
		CHECK_STR(check(), NULL);
	}
	CHECK(request.cancelled && !dlist_is_empty(&db.to_close));
}

/* What nobody wants goes, as far as it can: to the table first */
static void
ways_to_the_end(void)
{
	make_waiting();
	rstar_request_release_waiter(&waiter);
	CHECK_INT(request.state, RSTAR_FREE);
	CHECK_INT(db.counts.cancelled, 1);

	make_answered();
	rstar_request_release_waiter(&waiter);
	CHECK_INT(request.state, RSTAR_ANSWERED);
	rstar_request_stored(&request);
	CHECK_INT(request.state, RSTAR_FREE);

	make_cancelled();
	dlist_delete(&request.list);
	rstar_request_close(&request);
	CHECK_INT(request.state, RSTAR_FREE);
	CHECK_INT(db.counts.samples_cancelled, 2);

	make_running();
	rstar_request_take_back(&request, true);
	CHECK_INT(request.state, RSTAR_WAITING);
	CHECK_INT(request.losses, 1);
	CHECK_STR(check(), NULL);
}

/* The highest of those who want it; its place goes with that */
static void
priorities(void)
{
	static RstarWaiter person;
	static RstarOwner other;

	make_waiting();
	rstar_request_dequeue(&request);
	waiter.priority = request.priority = RSTAR_PRIORITY_BACKGROUND;
	rstar_request_enqueue(&request, &owner);
	CHECK_INT(db.nactive[RSTAR_PRIORITY_BACKGROUND], 1);

	memset(&other, 0, sizeof(other));
	for (int i = 0; i < RSTAR_NPRIORITIES * RSTAR_LANES; i++)
		dlist_init(&other.queue[i / RSTAR_LANES].lanes[i % RSTAR_LANES]);
	dlist_init(&other.pending);
	memset(&person, 0, sizeof(person));
	person.request = &request;
	person.owner = &other;
	person.wanted = 2;
	dlist_push_tail(&request.waiters, &person.request_link);
	dlist_push_tail(&other.pending, &person.owner_link);
	request.nwaiters++;
	rstar_request_prioritize(&request, &other);
	CHECK_INT(request.priority, RSTAR_PRIORITY_INTERACTIVE);
	CHECK(request.owner == &other);
	CHECK_INT(db.nactive[RSTAR_PRIORITY_BACKGROUND], 0);
	CHECK_INT(db.nactive[RSTAR_PRIORITY_INTERACTIVE], 1);
	CHECK_STR(check(), NULL);

	rstar_request_release_waiter(&person);
	CHECK_INT(request.priority, RSTAR_PRIORITY_BACKGROUND);
	CHECK(request.owner == &owner && request.queued);
	CHECK_INT(db.nactive[RSTAR_PRIORITY_INTERACTIVE], 0);
	CHECK_STR(check(), NULL);

	request.detached = true;
	request.detached_as = RSTAR_PRIORITY_INTERACTIVE;
	rstar_request_prioritize(&request, NULL);
	CHECK_INT(request.priority, RSTAR_PRIORITY_INTERACTIVE);
	rstar_request_release_waiter(&waiter);
	CHECK_INT(request.priority, RSTAR_PRIORITY_INTERACTIVE);
	CHECK_INT(request.state, RSTAR_WAITING);
	CHECK_STR(check(), NULL);
}

/* settle looks before it decides */
static void
settle_checks(void)
{
	make_answered();
	unlisted();
	assertion = NULL;
	if (setjmp(failed) == 0)
		rstar_request_settle(&request);
	CHECK(assertion != NULL);
}

int
main(void)
{
	CASE("states as they should be");
	good_states();
	CASE("ways to the end");
	ways_to_the_end();
	CASE("priorities");
	priorities();
	CASE("settle checks");
	settle_checks();
	for (size_t i = 0; i < lengthof(plants); i++)
	{
		CASE(plants[i].name);
		plants[i].make();
		CHECK_STR(check(), NULL);
		plants[i].spoil();
		CHECK(check() != NULL);
	}
	return check_end("request_test");
}
