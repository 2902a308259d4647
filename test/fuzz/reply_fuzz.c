/*-------------------------------------------------------------------------
 *
 * reply_fuzz.c
 *		libFuzzer target: rstar_reply_parse() of any bytes.
 *
 * The first byte stands for the HTTP status, the rest is the body.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/reply.h"
#include "model/reply_scan.h"
#include "model/reply_text.h"
#include "model/template.h"

int			LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const RstarReading score_alone = {&rstar_form_retro, false};
static const RstarReading all_of_it = {&rstar_form_retro, true};

#define REQUIRE(holds) \
	do { if (!(holds)) { fprintf(stderr, "not so: %s\n", #holds); abort(); } } while (0)

static int
status_of(uint8_t byte)
{
	switch (byte)
	{
		case '0':
			return 0;
		case '1':
			return 401;
		case '3':
			return 404;
		case '4':
			return 400;
		case '5':
			return 500;
		case '6':
			return 422;
		case '7':
			return 201;
		case '8':
			return 503;
		case '9':
			return 429;
		default:
			return 200;
	}
}

/* Valid UTF-8, decoded here in another way than reply.c does */
static void
require_utf8(const char *text, size_t len, uint32_t least)
{
	for (size_t i = 0; i < len;)
	{
		uint8_t		c = (uint8_t) text[i];
		size_t		n = c < 0x80 ? 1 : c >> 5 == 6 ? 2 : c >> 4 == 14 ? 3 : c >> 3 == 30 ? 4 : 0;
		uint32_t	point = n == 1 ? c : c & (0x7fu >> n);
		static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};

		REQUIRE(n > 0 && i + n <= len);
		for (size_t j = 1; j < n; j++)
		{
			REQUIRE(((uint8_t) text[i + j] & 0xc0) == 0x80);
			point = point << 6 | ((uint8_t) text[i + j] & 0x3f);
		}
		REQUIRE(point >= smallest[n] && point <= 0x10ffff);
		REQUIRE(point < 0xd800 || point > 0xdfff);
		REQUIRE(point >= least && !(least > 1 && point >= 0x7f && point < 0xa0));
		i += n;
	}
}

/* What is read without json-c, json-c must read alike: a BOM leaves it to it */
static void
require_same_by_json(const RstarReply *reply, const char *body, size_t len)
{
	RstarReplyScan scan;
	bool		usual = rstar_reply_scan(&scan, body, len);
	char	   *marked = malloc(len + 3);
	RstarReply	other;

	rstar_reply_scan_free(&scan);
	if (usual && marked != NULL)
	{
		memcpy(marked, "\xef\xbb\xbf", 3);
		memcpy(marked + 3, body, len);
		rstar_reply_parse(&other, 200, marked, len + 3, &all_of_it);
		REQUIRE(other.status == reply->status && other.error == reply->error);
		REQUIRE(other.score == reply->score);
		REQUIRE(other.prompt_tokens == reply->prompt_tokens);
		REQUIRE(other.completion_tokens == reply->completion_tokens);
		REQUIRE(strcmp(other.finish_reason, reply->finish_reason) == 0);
		REQUIRE((other.text == NULL) == (reply->text == NULL));
		REQUIRE(other.text_len == reply->text_len);
		REQUIRE(other.text == NULL || memcmp(other.text, reply->text, other.text_len) == 0);
		rstar_reply_free(&other);
	}
	free(marked);
}

/* Answers of others than Retro*, to a text of any bytes; and any bytes as those */
static void
require_forms(const char *text, size_t len)
{
	static const char *const answers[] = {"<answer>{score}</answer>", "score: {score}", "{{\"s\": {score}}}"};
	RstarText	any = {text, len};
	RstarTemplateReport report;
	RstarForm	form;
	bool		thinking;

	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
	{
		int			whole;

		REQUIRE(rstar_template_form(rstar_text(answers[i]), rstar_text("0.5..10"), &form) == RSTAR_FORM_GOOD);
		whole = rstar_text_score(any, &form, false, &thinking);
		REQUIRE(whole >= -1 && whole <= 100);
		REQUIRE(rstar_text_score(any, &form, true, &thinking) <= 100);
	}
	if (rstar_template_form(any, rstar_text("0..10"), &form) == RSTAR_FORM_GOOD)
	{
		REQUIRE(form.before_len > 0 && form.before_len + form.behind_len <= RSTAR_FORM_LEN);
		REQUIRE(rstar_text_score(any, &form, false, &thinking) <= 100);
	}
	if (rstar_template_form(rstar_text("s{score}"), any, &form) == RSTAR_FORM_GOOD)
		REQUIRE(form.low < form.high && form.digits > 0);
	if (rstar_template_check(any, &report) == RSTAR_TEMPLATE_GOOD)
		REQUIRE(report.count[RSTAR_PLACE_DOCUMENT] == 1);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *body = (const char *) data + 1;
	RstarReply	reply;
	RstarReply	again;
	int			status;
	bool		success;

	if (size == 0)
		return 0;
	status = status_of(data[0]);
	success = status >= 200 && status <= 299;
	rstar_reply_parse(&reply, status, body, size - 1, &all_of_it);
	if (success)
		require_same_by_json(&reply, body, size - 1);

	REQUIRE(reply.status <= RSTAR_REPLY_ERROR);
	REQUIRE(success || reply.status == RSTAR_REPLY_ERROR);
	REQUIRE((reply.status == RSTAR_REPLY_SCORE) == (reply.score >= 0));
	REQUIRE(reply.score >= -1 && reply.score <= 100);
	REQUIRE((reply.error != RSTAR_ERROR_NONE) == (reply.status == RSTAR_REPLY_ERROR));
	REQUIRE(reply.prompt_tokens >= 0 && reply.completion_tokens >= 0);
	REQUIRE(reply.limit_tokens >= 0 && reply.request_tokens >= 0);
	REQUIRE(memchr(reply.message, '\0', sizeof(reply.message)) != NULL);
	REQUIRE(memchr(reply.finish_reason, '\0', sizeof(reply.finish_reason)) != NULL);
	require_utf8(reply.message, strlen(reply.message), ' ');
	require_utf8(reply.finish_reason, strlen(reply.finish_reason), ' ');
	if (reply.text != NULL)
	{
		REQUIRE(strlen(reply.text) == reply.text_len && reply.text_len > 0);
		require_utf8(reply.text, reply.text_len, 1);
		/* a NUL that goes may make a tag of what was none */
		if (reply.score >= 0 && memmem(body, size - 1, "\\u0000", 6) == NULL)
			REQUIRE(rstar_reply_score(reply.text, reply.text_len) == reply.score);
	}

	/* one success is as good as another */
	rstar_reply_parse(&again, status == 200 ? 206 : status, body, size - 1, &score_alone);
	REQUIRE(again.text == NULL);
	REQUIRE(again.status == reply.status && again.error == reply.error);
	REQUIRE(again.score == reply.score);
	REQUIRE(strcmp(again.message, reply.message) == 0);
	rstar_reply_free(&again);
	rstar_reply_free(&reply);

	(void) rstar_reply_score(body, size - 1);
	require_forms(body, size - 1);
	return 0;
}
