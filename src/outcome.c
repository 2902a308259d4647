/*-------------------------------------------------------------------------
 *
 * outcome.c
 *		What the end of an exchange means: for the endpoint, for the sample,
 *		for the session that waits.
 *
 * Called by: send.c.  Calls: reply.c, hide.c.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "hide.h"
#include "outcome.h"

/* Longest Retry-After that is honoured, in seconds */
#define MAX_RETRY_AFTER 60

static void read_reply(const RstarHttpReply *reply, bool want_text, RstarReply *parsed);
static void judge_status(const RstarHttpReply *reply, const RstarReply *parsed,
						 RstarJudgement *verdict);
static RstarEnding ending(const RstarJudgement *verdict);

void
rstar_outcome_judge(const RstarHttpReply *reply, bool want_text, RstarReply *parsed,
					RstarJudgement *verdict)
{
	memset(parsed, 0, sizeof(RstarReply));
	memset(verdict, 0, sizeof(RstarJudgement));
	verdict->outcome.retry_after = -1;
	verdict->http_status = reply->status;
	strlcpy(verdict->detail, reply->error ? reply->error : "", sizeof(verdict->detail));
	switch (reply->result)
	{
		case RSTAR_HTTP_TRANSPORT:
			verdict->outcome.kind = RSTAR_OUTCOME_TRANSPORT;
			verdict->status = RSTAR_STATUS_UNREACHABLE;
			return;
		case RSTAR_HTTP_UNTRUSTED:
			verdict->outcome.kind = RSTAR_OUTCOME_UNTRUSTED;
			verdict->status = RSTAR_STATUS_UNTRUSTED;
			return;
		case RSTAR_HTTP_TIMEOUT:
			verdict->outcome.kind = RSTAR_OUTCOME_TIMEOUT;
			verdict->status = RSTAR_STATUS_TIMEOUT;
			return;
		case RSTAR_HTTP_NO_SOCKET:
			/* Fewer at once, and later: as if the endpoint pushed back */
			verdict->outcome.kind = RSTAR_OUTCOME_STATUS;
			verdict->outcome.status = 503;
			verdict->status = RSTAR_STATUS_UNREACHABLE;
			return;
		case RSTAR_HTTP_NO_MEMORY:
			/* The same */
			verdict->outcome.kind = RSTAR_OUTCOME_STATUS;
			verdict->outcome.status = 503;
			verdict->status = RSTAR_STATUS_SETUP;
			return;
		case RSTAR_HTTP_SETUP:
			/* Our own fault: it says nothing of the endpoint, and fails */
			verdict->outcome.kind = RSTAR_OUTCOME_CANCELLED;
			verdict->status = RSTAR_STATUS_SETUP;
			return;
		case RSTAR_HTTP_TOO_LARGE:
			verdict->outcome.kind = RSTAR_OUTCOME_BAD_REPLY;
			verdict->status = RSTAR_STATUS_BAD_REPLY;
			return;
		case RSTAR_HTTP_REPLY:
			break;
	}
	read_reply(reply, want_text, parsed);
	if (parsed->message[0])
		strlcpy(verdict->detail, parsed->message, sizeof(verdict->detail));
	if (reply->status != 200)
		judge_status(reply, parsed, verdict);
	else if (parsed->status == RSTAR_REPLY_SCORE || parsed->status == RSTAR_REPLY_NO_SCORE ||
			 parsed->status == RSTAR_REPLY_TRUNCATED)
		verdict->outcome.kind = RSTAR_OUTCOME_ANSWER;
	else
	{
		verdict->outcome.kind = RSTAR_OUTCOME_BAD_REPLY;
		verdict->status = RSTAR_STATUS_BAD_REPLY;
		if (parsed->status == RSTAR_REPLY_ABORTED)
			strlcpy(verdict->detail, "the server aborted the request", sizeof(verdict->detail));
		else if (parsed->status == RSTAR_REPLY_MALFORMED)
			strlcpy(verdict->detail, "not a chat completion", sizeof(verdict->detail));
	}
}

/*
 * What counts is read from the reply as it came, and what people read from one
 * without the key.  A role chooses the key of its own mapping: if one that is a
 * piece of an answer were hidden in it first, the role would choose the score,
 * which others get from the cache.
 */
static void
read_reply(const RstarHttpReply *reply, bool want_text, RstarReply *parsed)
{
	RstarReply	shown;

	rstar_reply_parse(parsed, reply->status, reply->body, reply->body_len, want_text);
	if (reply->key == NULL || !rstar_hide(reply->body, reply->body_len, reply->key))
		return;
	rstar_reply_parse(&shown, reply->status, reply->body, reply->body_len, want_text);
	rstar_reply_free(parsed);
	parsed->text = shown.text;
	parsed->text_len = shown.text_len;
	memcpy(parsed->finish_reason, shown.finish_reason, sizeof(shown.finish_reason));
	memcpy(parsed->message, shown.message, sizeof(shown.message));
}

void
rstar_outcome_attempt(const RstarJudgement *verdict, const RstarReply *parsed,
					  int64 elapsed_us, RstarAttemptEnd *end)
{
	memset(end, 0, sizeof(RstarAttemptEnd));
	end->ending = ending(verdict);
	end->unscored = parsed->status != RSTAR_REPLY_SCORE;
	end->prompt_tokens = parsed->prompt_tokens;
	end->completion_tokens = parsed->completion_tokens;
	end->elapsed_us = elapsed_us;
	end->status = verdict->status;
	end->http_status = verdict->http_status;
	end->detail = verdict->detail;
}

static RstarEnding
ending(const RstarJudgement *verdict)
{
	const RstarOutcome *outcome = &verdict->outcome;

	if (verdict->status == RSTAR_STATUS_SETUP)
		return RSTAR_ENDING_NOT_SENT;
	switch (outcome->kind)
	{
		case RSTAR_OUTCOME_ANSWER:
			return RSTAR_ENDING_ANSWERED;
		case RSTAR_OUTCOME_TRANSPORT:
		case RSTAR_OUTCOME_UNTRUSTED:
			return RSTAR_ENDING_UNREACHABLE;
		case RSTAR_OUTCOME_TIMEOUT:
			return RSTAR_ENDING_TIMED_OUT;
		case RSTAR_OUTCOME_CANCELLED:
		case RSTAR_OUTCOME_BAD_REPLY:
			break;
		case RSTAR_OUTCOME_STATUS:
			if (outcome->status == 408 || outcome->status == 429 || outcome->status == 503)
				return RSTAR_ENDING_PUSHED_BACK;
			if (outcome->status >= 500)
				return RSTAR_ENDING_SERVER_ERROR;
			if (outcome->status < 200 || outcome->status > 299)
				return RSTAR_ENDING_REFUSED;
			break;
	}
	return RSTAR_ENDING_BAD_REPLY;
}

static void
judge_status(const RstarHttpReply *reply, const RstarReply *parsed, RstarJudgement *verdict)
{
	RstarOutcome *outcome = &verdict->outcome;

	outcome->kind = RSTAR_OUTCOME_STATUS;
	outcome->status = reply->status;
	outcome->unknown_model = parsed->error == RSTAR_ERROR_MODEL;
	outcome->quota = parsed->error == RSTAR_ERROR_QUOTA;
	if (reply->retry_after != NULL)
		outcome->retry_after = rstar_reply_retry_after(reply->retry_after,
													   strlen(reply->retry_after),
													   (long long) time(NULL), MAX_RETRY_AFTER);
	if (reply->status == 401 || reply->status == 403)
		verdict->status = RSTAR_STATUS_UNAUTHORIZED;
	else if (outcome->unknown_model)
		verdict->status = RSTAR_STATUS_UNKNOWN_MODEL;
	else if (parsed->error == RSTAR_ERROR_TOO_LONG)
		verdict->status = RSTAR_STATUS_TOO_LONG;
	else if (reply->status >= 500)
		verdict->status = RSTAR_STATUS_SERVER_ERROR;
	else
		verdict->status = RSTAR_STATUS_REFUSED;
}
