/*-------------------------------------------------------------------------
 *
 * kept.c
 *		The samples of a key that the map has, and the table may not have.
 *
 * Readers copy under the lock: nothing has to be held for them, and what was
 * freed meanwhile is not there.  They own nothing in the map.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lwlock.h"

#include "shared/details.h"
#include "shared/kept.h"
#include "shared/request.h"
#include "shared/shmem.h"

typedef struct Buffer
{
	char	   *data;
	Size		size;
	Size		used;			/* or needed, when it is more */
	int			n;				/* requests */
} Buffer;

static void put_all(const RstarKey *key, Buffer *to);
static void put_unfindable(dlist_head *answers, const RstarKey *key, Buffer *to);
static bool in_map_only(const RstarRequest *request, const RstarKey *key);
static void put_kept(const RstarRequest *request, Buffer *to);

/*
 * Two steps: what does not fit is only measured, and copied when there is
 * memory for it, unless it has grown.
 */
RstarKept *
rstar_kept_find(const RstarKey *key, int *n, uint64 *generation)
{
	Buffer		buffer = {0};

	(void) rstar_shmem_area();
	for (;;)
	{
		LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
		*generation = rstar_shared->generation;
		put_all(key, &buffer);
		LWLockRelease(rstar_shared->lock);
		*n = buffer.n;
		if (buffer.used <= buffer.size)
			return (RstarKept *) buffer.data;
		if (buffer.data != NULL)
			pfree(buffer.data);
		buffer.size = buffer.used;
		buffer.data = palloc_extended(buffer.size, MCXT_ALLOC_HUGE);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Measures all, and writes what fits */
static void
put_all(const RstarKey *key, Buffer *to)
{
	RstarDatabase *db = rstar_shmem_database(MyDatabaseId, false);
	dlist_iter	iter;

	to->used = 0;
	to->n = 0;
	if (db == NULL)
		return;
	put_unfindable(&db->refused, key, to);
	put_unfindable(&db->unstored, key, to);
	/* New ones are put at the head of the bucket */
	dlist_reverse_foreach(iter, rstar_shmem_bucket(MyDatabaseId, key))
	{
		const RstarRequest *request = dlist_container(RstarRequest, bucket, iter.cur);

		if (request->db == db && in_map_only(request, key))
			put_kept(request, to);
	}
}

/* One that has failed is not found by its key any more */
static void
put_unfindable(dlist_head *answers, const RstarKey *key, Buffer *to)
{
	dlist_iter	iter;

	dlist_foreach(iter, answers)
	{
		const RstarRequest *request = dlist_container(RstarRequest, list, iter.cur);

		if (!request->findable && in_map_only(request, key))
			put_kept(request, to);
	}
}

/* It has samples, and they have not been stored */
static bool
in_map_only(const RstarRequest *request, const RstarKey *key)
{
	return request->kind == RSTAR_KIND_SCORE &&
		memcmp(&request->key, key, sizeof(RstarKey)) == 0 &&
		request->scored + request->unscored > 0 &&
		(request->unstored || request->state == RSTAR_WAITING || request->state == RSTAR_RUNNING);
}

static void
put_kept(const RstarRequest *request, Buffer *to)
{
	Size		need = MAXALIGN(offsetof(RstarKept, json) +
								rstar_details_size(&request->details, request->scored));

	if (to->used + need <= to->size)
	{
		RstarKept  *kept = (RstarKept *) (to->data + to->used);

		kept->answered_at = request->unstored ? request->answered_at : 0;
		kept->size = need;
		(void) rstar_details_copy(&request->details, request->scores, request->scored, kept->json);
	}
	to->used += need;
	to->n++;
}

uint64
rstar_kept_generation(void)
{
	uint64		generation;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	generation = rstar_shared->generation;
	LWLockRelease(rstar_shared->lock);
	return generation;
}
