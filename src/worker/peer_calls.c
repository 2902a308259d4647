/*-------------------------------------------------------------------------
 *
 * peer_calls.c
 *		What a hub is asked and told, as statements.
 *
 * Parameters go as text, results come in binary: there are thousands of them.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "libpq-fe.h"
#include "mb/pg_wchar.h"
#include "port/pg_bswap.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "shared/cache.h"
#include "worker/peer_calls.h"

/* us; a put may have to wait for a lock of somebody's */
#define ASK_TIMEOUT INT64CONST(5000000)
#define PUT_TIMEOUT INT64CONST(15000000)

/* Scores of one pair */
#define MAX_SCORES 10000

/* Tokens of one pair: sums of many such are to fit */
#define MAX_TOKENS (PG_INT64_MAX / 1024)

/* In the order of the result of retrostar.shared_ask() */
enum
{
	FIELD_N, FIELD_STATE, FIELD_SCORES, FIELD_UNSCORED, FIELD_MODEL, FIELD_PROMPT_TOKENS,
	FIELD_COMPLETION_TOKENS, FIELD_CREATED, FIELD_UPDATED, NFIELDS
};

static void append_key(StringInfo list, const RstarKey *key);
static void append_quoted(StringInfo list, const char *text);
static bool is_sensible(const PGresult *result, int line, int64 unscored, const RstarMergeRow *row);
static bool read_int(const PGresult *result, int line, int field, int size, int64 *value);
static bool read_scores(const PGresult *result, int line, RstarPeerAnswer *answer);

void
rstar_peer_ask(RstarPeer *peer, const RstarLookup *const *lookups, int n,
			   const RstarKey *const *done, int ndone, int64 now)
{
	StringInfoData keys;
	StringInfoData have;
	StringInfoData ended;
	const char *params[4];

	initStringInfo(&keys);
	initStringInfo(&have);
	initStringInfo(&ended);
	for (int i = 0; i < n; i++)
	{
		append_key(&keys, &lookups[i]->key);
		appendStringInfo(&have, i > 0 ? ",%d" : "%d", lookups[i]->have);
	}
	for (int i = 0; i < ndone; i++)
		append_key(&ended, done[i]);
	params[0] = psprintf("%d", RSTAR_CACHE_VERSION);
	params[1] = psprintf("{%s}", keys.data);
	params[2] = psprintf("{%s}", have.data);
	params[3] = psprintf("{%s}", ended.data);
	rstar_peer_send(peer, "SELECT * FROM retrostar.shared_ask($1::pg_catalog.int2, $2::pg_catalog.bytea[],"
					" $3::pg_catalog.int4[], $4::pg_catalog.bytea[])",
					lengthof(params), params, now, ASK_TIMEOUT);
}

static void
append_key(StringInfo list, const RstarKey *key)
{
	static const char digits[] = "0123456789abcdef";

	appendStringInfoString(list, list->len > 0 ? ",\"\\\\x" : "\"\\\\x");
	for (int i = 0; i < (int) sizeof(key->bytes); i++)
	{
		appendStringInfoChar(list, digits[key->bytes[i] >> 4]);
		appendStringInfoChar(list, digits[key->bytes[i] & 15]);
	}
	appendStringInfoChar(list, '"');
}

void
rstar_peer_put(RstarPeer *peer, const RstarTold *const *told, int n, int64 now)
{
	StringInfoData lists[7];
	const char *params[8];

	for (int i = 0; i < (int) lengthof(lists); i++)
		initStringInfo(&lists[i]);
	for (int i = 0; i < n; i++)
	{
		const char *comma = i > 0 ? "," : "";

		append_key(&lists[0], &told[i]->key);
		appendStringInfo(&lists[1], "%s\"{", comma);
		for (int j = 0; j < told[i]->nscores; j++)
			appendStringInfo(&lists[1], j > 0 ? ",%d" : "%d", told[i]->scores[j]);
		appendStringInfoString(&lists[1], "}\"");
		appendStringInfo(&lists[2], "%s%d", comma, told[i]->unscored);
		appendStringInfoString(&lists[3], comma);
		append_quoted(&lists[3], told[i]->model);
		appendStringInfo(&lists[4], "%s" INT64_FORMAT, comma, told[i]->prompt_tokens);
		appendStringInfo(&lists[5], "%s" INT64_FORMAT, comma, told[i]->completion_tokens);
		appendStringInfo(&lists[6], "%s\"%s\"", comma, timestamptz_to_str(told[i]->answered_at));
	}
	params[0] = psprintf("%d", RSTAR_CACHE_VERSION);
	for (int i = 0; i < (int) lengthof(lists); i++)
		params[i + 1] = psprintf("{%s}", lists[i].data);
	rstar_peer_send(peer, "SELECT retrostar.shared_put($1::pg_catalog.int2, $2::pg_catalog.bytea[],"
					" $3::pg_catalog.text[], $4::pg_catalog.int4[], $5::pg_catalog.text[],"
					" $6::pg_catalog.int8[], $7::pg_catalog.int8[], $8::pg_catalog.timestamptz[])",
					lengthof(params), params, now, PUT_TIMEOUT);
}

/* An element of an array */
static void
append_quoted(StringInfo list, const char *text)
{
	appendStringInfoChar(list, '"');
	for (const char *c = text; *c; c++)
	{
		if (*c == '"' || *c == '\\')
			appendStringInfoChar(list, '\\');
		appendStringInfoChar(list, *c);
	}
	appendStringInfoChar(list, '"');
}

int
rstar_peer_lines(const struct pg_result *result)
{
	return PQnfields(result) == NFIELDS ? PQntuples(result) : -1;
}

bool
rstar_peer_read(const struct pg_result *result, int i, RstarPeerAnswer *answer)
{
	const char *state = PQgetvalue(result, i, FIELD_STATE);
	int			len = PQgetlength(result, i, FIELD_STATE);
	int64		unscored;
	int64		n;

	memset(answer, 0, sizeof(RstarPeerAnswer));
	if (!read_int(result, i, FIELD_N, 4, &n) || n != i + 1)
		return false;
	if (len == 5 && memcmp(state, "yours", 5) == 0)
		answer->found = RSTAR_FOUND_OURS;
	else if (len == 9 && memcmp(state, "elsewhere", 9) == 0)
		answer->found = RSTAR_FOUND_ELSEWHERE;
	else if (len == 5 && memcmp(state, "known", 5) == 0)
	{
		answer->found = RSTAR_FOUND_KNOWN;
		if (!read_scores(result, i, answer) ||
			!read_int(result, i, FIELD_UNSCORED, 4, &unscored) || unscored < 0 ||
			!read_int(result, i, FIELD_PROMPT_TOKENS, 8, &answer->row.prompt_tokens) ||
			!read_int(result, i, FIELD_COMPLETION_TOKENS, 8, &answer->row.completion_tokens) ||
			!read_int(result, i, FIELD_CREATED, 8, &answer->row.created) ||
			!read_int(result, i, FIELD_UPDATED, 8, &answer->row.updated) ||
			PQgetisnull(result, i, FIELD_MODEL) || !is_sensible(result, i, unscored, &answer->row))
			return false;
		answer->tally.unscored = answer->row.unscored = (int) unscored;
		answer->row.model = pnstrdup(PQgetvalue(result, i, FIELD_MODEL), PQgetlength(result, i, FIELD_MODEL));
	}
	else
		return false;
	return true;
}

/* Could it be stored?  What cannot would keep others from it. */
static bool
is_sensible(const PGresult *result, int line, int64 unscored, const RstarMergeRow *row)
{
	int			len = PQgetlength(result, line, FIELD_MODEL);

	return unscored <= MAX_SCORES && row->prompt_tokens >= 0 && row->prompt_tokens <= MAX_TOKENS &&
		row->completion_tokens >= 0 && row->completion_tokens <= MAX_TOKENS &&
		IS_VALID_TIMESTAMP(row->created) && IS_VALID_TIMESTAMP(row->updated) &&
		len < RSTAR_MODEL_LEN &&
		pg_verify_mbstr(PG_UTF8, PQgetvalue(result, line, FIELD_MODEL), len, true);
}

/* Big-endian, as all of the binary format */
static bool
read_int(const PGresult *result, int line, int field, int size, int64 *value)
{
	const char *bytes = PQgetvalue(result, line, field);

	if (PQgetisnull(result, line, field) || PQgetlength(result, line, field) != size)
		return false;
	if (size == 4)
	{
		uint32		n;

		memcpy(&n, bytes, sizeof(n));
		*value = (int32) pg_ntoh32(n);
	}
	else
	{
		uint64		n;

		memcpy(&n, bytes, sizeof(n));
		*value = (int64) pg_ntoh64(n);
	}
	return true;
}

/*
 * An array: dimensions, whether there are nulls, type; of the dimension its
 * length and first index; of each element its length and itself
 */
static bool
read_scores(const PGresult *result, int line, RstarPeerAnswer *answer)
{
	const char *bytes = PQgetvalue(result, line, FIELD_SCORES);
	int			len = PQgetlength(result, line, FIELD_SCORES);
	uint32		head[5];
	int			n;
	uint8	   *scores;

	if (PQgetisnull(result, line, FIELD_SCORES) || len < 12)
		return false;
	memcpy(head, bytes, Min((Size) len, sizeof(head)));
	if (pg_ntoh32(head[1]) != 0 || pg_ntoh32(head[2]) != INT2OID)
		return false;
	if (head[0] == 0)
		return len == 12;
	if (pg_ntoh32(head[0]) != 1 || len < (int) sizeof(head))
		return false;
	n = (int) pg_ntoh32(head[3]);
	if (n < 1 || n > MAX_SCORES || len != (int) sizeof(head) + n * 6)
		return false;
	scores = palloc(n);
	for (int i = 0; i < n; i++)
	{
		uint16		score;

		memcpy(&score, bytes + sizeof(head) + i * 6 + 4, sizeof(score));
		score = pg_ntoh16(score);
		if (score > 100)
			return false;
		scores[i] = (uint8) score;
		answer->tally.sum += score;
		if (answer->tally.nscores < RSTAR_MAX_SAMPLES)
			answer->tally.scores[answer->tally.nscores++] = (uint8) score;
	}
	answer->tally.scored = answer->row.nscores = n;
	answer->row.scores = scores;
	return true;
}
