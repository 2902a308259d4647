/*-------------------------------------------------------------------------
 *
 * details.c
 *		What was kept of the replies to requests, in shared memory, until the
 *		table has it.
 *
 * The details of a reply are one chunk of the text area; the chunks of a
 * request are a list in order of arrival, which ends with the request.  They
 * are counted in text_bytes, and may fill a share of the area only: a score is
 * never lost for want of room for its reasons, nor does a pair wait for it.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/lwlock.h"

#include "shared/details.h"
#include "shared/shmem.h"

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
rstar_details_add(RstarDetails *details, dsa_pointer made, int before, bool scored)
{
	Detail	   *detail;

	if (!DsaPointerIsValid(made))
		return;
	detail = dsa_get_address(rstar_shmem_area(), made);
	detail->before = before;
	detail->scored = scored;
	if (DsaPointerIsValid(details->last))
		((Detail *) dsa_get_address(rstar_shmem_area(), details->last))->next = made;
	else
		details->first = made;
	details->last = made;
	details->len += detail->len + 1;
}

bool
rstar_details_any(const RstarDetails *details)
{
	return DsaPointerIsValid(details->first);
}

Size
rstar_details_size(const RstarDetails *details, int nscores)
{
	return details->len + nscores * SCORE_SIZE + sizeof("[]");
}

Size
rstar_details_copy(const RstarDetails *details, const uint8 *scores, int nscores, char *buf)
{
	char	   *p = buf;
	int			next = 0;
	dsa_pointer at = details->first;

	*p++ = '[';
	while (DsaPointerIsValid(at))
	{
		const Detail *detail = dsa_get_address(rstar_shmem_area(), at);

		for (; next < detail->before; next++)
			p += sprintf(p, "%d,", scores[next]);
		memcpy(p, detail->json, detail->len);
		p += detail->len;
		*p++ = ',';
		next += detail->scored ? 1 : 0;
		at = detail->next;
	}
	for (; next < nscores; next++)
		p += sprintf(p, "%d,", scores[next]);
	if (p > buf + 1)
		p--;					/* the last comma */
	*p++ = ']';
	*p++ = '\0';
	return p - buf;
}

void
rstar_details_free(RstarDetails *details)
{
	dsa_pointer at = details->first;

	while (DsaPointerIsValid(at))
	{
		const Detail *detail = dsa_get_address(rstar_shmem_area(), at);
		dsa_pointer next = detail->next;

		unreserve(offsetof(Detail, json) + detail->len);
		dsa_free(rstar_shmem_area(), at);
		at = next;
	}
	details->first = details->last = InvalidDsaPointer;
	details->len = 0;
}
