/*-------------------------------------------------------------------------
 *
 * details.c
 *		What was kept of the replies to requests, in shared memory, until the
 *		table has it.
 *
 * Called by: dispatch.c, request.c, queue.c, explain.c.
 *
 * The details of a reply are one chunk of the text area; the chunks of a
 * request are a list in order of arrival, which ends with the request.  They
 * are counted in text_bytes, and may fill a share of the area only: a score is
 * never lost for want of room for its reasons, nor does a pair wait for it.
 *
 * Readers copy under the lock: nothing has to be held for them, and what was
 * freed meanwhile is not there.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"

#include "details.h"
#include "shmem.h"

/* All details together take a quarter of the text area at most */
#define DETAIL_SHARE 4

/* A bare score and its comma */
#define SCORE_SIZE 4

typedef struct Detail
{
	dsa_pointer next;
	int			len;
	int			before;			/* scored samples that came before it */
	bool		scored;
	char		json[FLEXIBLE_ARRAY_MEMBER];
} Detail;

static bool reserve(int64 size);
static void unreserve(int64 size);
static bool in_map_only(const RstarRequest *request, const RstarKey *key);
static Size put_kept(const RstarRequest *request, char *buf, Size size, Size used);
static Size put_all(const RstarKey *key, char *buf, Size size, int *n);

dsa_pointer
rstar_details_make(const char *json, int len)
{
	Size		size = offsetof(Detail, json) + len;
	dsa_pointer made;
	Detail	   *detail;

	if (!reserve(size))
		return InvalidDsaPointer;
	made = dsa_allocate_extended(rstar_shmem_area(), size, DSA_ALLOC_NO_OOM);
	if (!DsaPointerIsValid(made))
	{
		LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
		unreserve(size);
		LWLockRelease(rstar_shared->lock);
		return InvalidDsaPointer;
	}
	detail = dsa_get_address(rstar_shmem_area(), made);
	detail->next = InvalidDsaPointer;
	detail->len = len;
	memcpy(detail->json, json, len);
	return made;
}

static bool
reserve(int64 size)
{
	bool		room;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	room = rstar_shared->detail_bytes + size <= rstar_shared->area_size / DETAIL_SHARE;
	if (room)
	{
		rstar_shared->detail_bytes += size;
		rstar_shared->text_bytes += size;
	}
	LWLockRelease(rstar_shared->lock);
	return room;
}

static void
unreserve(int64 size)
{
	rstar_shared->detail_bytes -= size;
	rstar_shared->text_bytes -= size;
	rstar_shared->freed++;
}

void
rstar_details_add(RstarRequest *request, dsa_pointer made, bool scored)
{
	Detail	   *detail;

	if (!DsaPointerIsValid(made))
		return;
	detail = dsa_get_address(rstar_shmem_area(), made);
	detail->before = request->scored;
	detail->scored = scored;
	if (DsaPointerIsValid(request->last_detail))
		((Detail *) dsa_get_address(rstar_shmem_area(), request->last_detail))->next = made;
	else
		request->details = made;
	request->last_detail = made;
	request->details_len += detail->len + 1;
}

Size
rstar_details_size(const RstarRequest *request)
{
	return request->details_len + request->scored * SCORE_SIZE + sizeof("[]");
}

Size
rstar_details_copy(const RstarRequest *request, char *buf)
{
	char	   *p = buf;
	int			next = 0;
	dsa_pointer at = request->details;

	*p++ = '[';
	while (DsaPointerIsValid(at))
	{
		const Detail *detail = dsa_get_address(rstar_shmem_area(), at);

		for (; next < detail->before; next++)
			p += sprintf(p, "%d,", request->scores[next]);
		memcpy(p, detail->json, detail->len);
		p += detail->len;
		*p++ = ',';
		next += detail->scored ? 1 : 0;
		at = detail->next;
	}
	for (; next < request->scored; next++)
		p += sprintf(p, "%d,", request->scores[next]);
	if (p > buf + 1)
		p--;					/* the last comma */
	*p++ = ']';
	*p++ = '\0';
	return p - buf;
}

void
rstar_details_free(RstarRequest *request)
{
	dsa_pointer at = request->details;

	while (DsaPointerIsValid(at))
	{
		const Detail *detail = dsa_get_address(rstar_shmem_area(), at);
		dsa_pointer next = detail->next;

		unreserve(offsetof(Detail, json) + detail->len);
		dsa_free(rstar_shmem_area(), at);
		at = next;
	}
	request->details = request->last_detail = InvalidDsaPointer;
	request->details_len = 0;
}

bool
rstar_details_evict(void)
{
	bool		evicted = false;

	for (int i = 0; i < rstar_shared->ndatabases && rstar_shared->detail_bytes > 0; i++)
	{
		RstarDatabase *db = &rstar_shared->databases[i];
		dlist_iter	iter;

		if (!OidIsValid(db->dboid) || !db->cannot_store)
			continue;
		dlist_foreach(iter, &db->unstored)
		{
			RstarRequest *request = dlist_container(RstarRequest, list, iter.cur);

			evicted = evicted || DsaPointerIsValid(request->details);
			rstar_details_free(request);
		}
	}
	return evicted;
}

/*
 * Two steps: what does not fit is only measured, and copied when there is
 * memory for it, unless it has grown.
 */
RstarKept *
rstar_details_find(const RstarKey *key, int *n, uint64 *generation)
{
	char	   *buf = NULL;
	Size		size = 0;

	(void) rstar_shmem_owner();
	for (;;)
	{
		Size		need;

		LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
		*generation = rstar_shared->generation;
		need = put_all(key, buf, size, n);
		LWLockRelease(rstar_shared->lock);
		if (need <= size)
			return (RstarKept *) buf;
		if (buf != NULL)
			pfree(buf);
		size = need;
		buf = palloc_extended(size, MCXT_ALLOC_HUGE);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Returns the size of all, written as far as it fits */
static Size
put_all(const RstarKey *key, char *buf, Size size, int *n)
{
	RstarDatabase *db = rstar_shmem_database(MyDatabaseId, false);
	Size		used = 0;
	dlist_iter	iter;

	*n = 0;
	if (db == NULL)
		return 0;
	/* One that has failed is not found by its key any more */
	dlist_foreach(iter, &db->unstored)
	{
		const RstarRequest *request = dlist_container(RstarRequest, list, iter.cur);

		if (!request->findable && in_map_only(request, key))
		{
			used += put_kept(request, buf, size, used);
			(*n)++;
		}
	}
	/* New ones are put at the head of the bucket */
	dlist_reverse_foreach(iter, rstar_shmem_bucket(MyDatabaseId, key))
	{
		const RstarRequest *request = dlist_container(RstarRequest, bucket, iter.cur);

		if (request->db == db && in_map_only(request, key))
		{
			used += put_kept(request, buf, size, used);
			(*n)++;
		}
	}
	return used;
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

static Size
put_kept(const RstarRequest *request, char *buf, Size size, Size used)
{
	Size		need = MAXALIGN(offsetof(RstarKept, json) + rstar_details_size(request));

	if (used + need <= size)
	{
		RstarKept  *kept = (RstarKept *) (buf + used);

		kept->answered_at = request->unstored ? request->answered_at : 0;
		kept->size = need;
		(void) rstar_details_copy(request, kept->json);
	}
	return need;
}

uint64
rstar_details_generation(void)
{
	uint64		generation;

	LWLockAcquire(rstar_shared->lock, LW_EXCLUSIVE);
	generation = rstar_shared->generation;
	LWLockRelease(rstar_shared->lock);
	return generation;
}
