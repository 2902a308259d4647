/*-------------------------------------------------------------------------
 *
 * recent.c
 *		The last replies, in shared memory, for retro_star_explain().
 *
 * A ring of fixed size, which all workers write: a reply takes the place of
 * the oldest.  Positions count bytes ever written; a reply does not go over
 * the ring's end, what would be left there is filled with nothing.  So nothing
 * is allocated or freed, no pair waits for room because of it, and the last
 * ones are there, however many that is.
 *
 * Only replies with a score, which is how explain.c finds the sample that one
 * belongs to: it is told nothing of a reply that the sample has not.
 *
 * Looked through from one end to the other, which takes a millisecond for each
 * few megabytes: people ask why, not programs.  Under a lock of its own, which
 * a worker takes once for each reply.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "base/settings.h"
#include "shared/recent.h"

#define PART_NAME "retrostar_replies"

/* One takes a quarter of the ring at most */
#define REPLY_SHARE 4

typedef struct Ring
{
	LWLock	   *lock;			/* taken last */
	uint64		start;			/* position of the oldest reply */
	uint64		end;			/* behind the newest */
	Size		size;
	char		data[FLEXIBLE_ARRAY_MEMBER];
} Ring;

static Ring *ring = NULL;

static Size ring_size(void);
static RstarRecent *at(uint64 position);
static RstarRecent *make_room(Size need);
static Size copy(const RstarKey *key, char *to, Size room, int *n);

static Size
ring_size(void)
{
	return MAXALIGN_DOWN((Size) rstar_reply_memory * 1024);
}

void
rstar_recent_request(void)
{
	RequestAddinShmemSpace(MAXALIGN(add_size(offsetof(Ring, data), ring_size())));
	RequestNamedLWLockTranche(PART_NAME, 1);
}

void
rstar_recent_startup(void)
{
	bool		found;

	ring = ShmemInitStruct(PART_NAME, add_size(offsetof(Ring, data), ring_size()), &found);
	if (found)
		return;
	memset(ring, 0, offsetof(Ring, data));
	ring->size = ring_size();
	ring->lock = &GetNamedLWLockTranche(PART_NAME)->lock;
}

bool
rstar_recent_kept(void)
{
	return ring->size > 0;
}

static RstarRecent *
at(uint64 position)
{
	return (RstarRecent *) (ring->data + position % ring->size);
}

void
rstar_recent_add(const RstarRecent *reply, const char *endpoint, const char *text)
{
	Size		need = MAXALIGN(offsetof(RstarRecent, data) + reply->endpoint_len + reply->text_len);
	RstarRecent *to;

	if (need > ring->size / REPLY_SHARE)
		return;
	LWLockAcquire(ring->lock, LW_EXCLUSIVE);
	to = make_room(need);
	memcpy(to, reply, offsetof(RstarRecent, data));
	to->size = need;
	to->dboid = MyDatabaseId;
	memcpy(to->data, endpoint, reply->endpoint_len);
	memcpy(to->data + reply->endpoint_len, text, reply->text_len);
	LWLockRelease(ring->lock);
}

/* At the end; the oldest go for it */
static RstarRecent *
make_room(Size need)
{
	Size		left = ring->size - ring->end % ring->size;
	Size		gap = left < need ? left : 0;
	RstarRecent *made;

	while (ring->end + gap + need - ring->start > ring->size)
		ring->start += at(ring->start)->size;
	/* It has room for these two at least, as all sizes are aligned */
	if (gap > 0)
	{
		at(ring->end)->size = gap;
		at(ring->end)->dboid = InvalidOid;
	}
	made = at(ring->end + gap);
	ring->end += gap + need;
	return made;
}

RstarRecent *
rstar_recent_find(const RstarKey *key, int *n)
{
	char	   *buf = NULL;
	Size		room = 0;
	Size		need;

	*n = 0;
	if (ring->size == 0)
		return NULL;
	for (;;)
	{
		LWLockAcquire(ring->lock, LW_SHARED);
		need = copy(key, buf, room, n);
		LWLockRelease(ring->lock);
		if (need <= room)
			break;
		if (buf != NULL)
			pfree(buf);
		room = need;
		buf = palloc(room);
	}
	return *n > 0 ? (RstarRecent *) buf : NULL;
}

/* As many as there is room for; returns how much it takes for all */
static Size
copy(const RstarKey *key, char *to, Size room, int *n)
{
	Size		need = 0;
	const RstarRecent *reply;

	*n = 0;
	for (uint64 position = ring->start; position < ring->end; position += reply->size)
	{
		reply = at(position);
		if (reply->dboid != MyDatabaseId || memcmp(&reply->key, key, sizeof(RstarKey)) != 0)
			continue;
		if (need + reply->size <= room)
			memcpy(to + need, reply, reply->size);
		need += reply->size;
		(*n)++;
	}
	return need;
}

void
rstar_recent_purge(Oid dboid)
{
	RstarRecent *reply;

	if (ring->size == 0)
		return;
	LWLockAcquire(ring->lock, LW_EXCLUSIVE);
	for (uint64 position = ring->start; position < ring->end; position += reply->size)
	{
		reply = at(position);
		if (reply->dboid != dboid)
			continue;
		reply->dboid = InvalidOid;
		memset(reply->data, 0, reply->size - offsetof(RstarRecent, data));
	}
	LWLockRelease(ring->lock);
}
