/*-------------------------------------------------------------------------
 *
 * reply.c
 *		A chat completion's body.
 *
 * Called by: chat.c, deliver.c (the fixed reply).  Calls: score.c, text.c.
 *
 * Choice i of a request with n choices is what a request with n = 1 and a seed
 * larger by i gets, as seen with llama-server.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "reply.h"
#include "text.h"

static uint64_t replies;

int
sim_tokens(size_t bytes)
{
	return (bytes + SIM_TOKEN_BYTES - 1) / SIM_TOKEN_BYTES;
}

/* Cuts a text to so many tokens, before a character */
static bool
cut_to_tokens(SimBuf *text, int max_tokens)
{
	size_t		most = (size_t) max_tokens * SIM_TOKEN_BYTES;

	if (max_tokens < 0 || text->len <= most)
		return false;
	while (most > 0 && ((unsigned char) text->data[most] & 0xC0) == 0x80)
		most--;
	text->len = most;
	text->data[most] = '\0';
	return true;
}

static void
cut_at_stop(SimBuf *text, const SimWish *wish)
{
	for (int i = 0; i < wish->nstop; i++)
	{
		char	   *at;

		if (wish->stop[i][0] == '\0')
			continue;
		at = strstr(text->data, wish->stop[i]);
		if (at != NULL)
		{
			*at = '\0';
			text->len = at - text->data;
		}
	}
}

/* In the form that the prompt wants; "wanted", if any, as it stands there */
static void
write_score(SimBuf *text, SimForm form, const char *wanted, int score)
{
	char		number[16];

	if (form == SIM_FORM_RETRO_STAR)
		snprintf(number, sizeof(number), "%d", score);
	else
		snprintf(number, sizeof(number), "%.*f", form == SIM_FORM_WORDS, score / 10.0);
	if (wanted == NULL)
		wanted = number;
	if (form == SIM_FORM_RETRO_STAR)
		sim_buf_printf(text, "<score>\n%s\n</score>", wanted);
	else if (form == SIM_FORM_ANSWER)
		sim_buf_printf(text, "<answer>%s</answer>", wanted);
	else
		sim_buf_printf(text, "Relevance score: %s.", wanted);
}

/* The whole answer of one choice; *mark is where the score begins */
static void
write_text(SimBuf *text, const SimWish *wish, const SimShape *shape,
		   int number, size_t *mark)
{
	SimRng		rng;
	int			score;

	/* Greedy decoding knows no seed */
	rng.state = wish->prompt_hash;
	if (wish->temperature > 0)
		rng.state ^= sim_hash(NULL, 0, wish->seed + number);
	score = sim_score_sample(sim_score_mean(&wish->pair, wish->prompt_hash),
							 wish->temperature, &rng);
	if (shape->think)
		sim_buf_puts(text, "<think>\nThe answer has to end with tags, say <score>\n3\n</score>. Let me see.\n</think>\n\n");
	sim_text_reasoning(text, &wish->pair, score, &rng);
	if (shape->quoted)
		sim_buf_puts(text, "The task wants the form <score>\n[From a scale of 0 to 100]\n</score>; a value such as <score>5</score> or <score> 99 </score> would not be justified here.\n\n");
	*mark = text->len;
	if (shape->no_score)
		return;
	write_score(text, wish->pair.form, shape->score, score);
	if (shape->tail != NULL)
		sim_buf_puts(text, shape->tail);
}

/* The text as a JSON string, with the raw characters where the score begins */
static void
append_text(SimBuf *body, const char *text, size_t len, size_t mark,
			const SimShape *shape)
{
	if (mark > len)
		mark = len;
	sim_buf_append(body, "\"", 1);
	sim_buf_json_chars(body, text, mark);
	if (shape->insert != NULL)
		sim_buf_append(body, shape->insert, shape->insert_len);
	sim_buf_json_chars(body, text + mark, len - mark);
	sim_buf_append(body, "\"", 1);
}

static void
append_message(SimBuf *body, const SimBuf *text, size_t mark,
			   const SimShape *shape)
{
	sim_buf_puts(body, "\"message\":{\"role\":\"assistant\",");
	if (shape->split)
	{
		if (mark > text->len)
			mark = text->len;
		sim_buf_puts(body, "\"reasoning_content\":");
		append_text(body, text->data, mark, mark, shape);
		sim_buf_puts(body, ",\"content\":");
		append_text(body, text->data + mark, text->len - mark, 0, shape);
		sim_buf_puts(body, "}");
		return;
	}
	switch (shape->field)
	{
		case SIM_IN_CONTENT:
			sim_buf_puts(body, "\"content\":");
			append_text(body, text->data, text->len, mark, shape);
			if (sim_settings.dialect == SIM_SGLANG)
				sim_buf_puts(body, ",\"reasoning_content\":null,\"tool_calls\":null");
			else if (sim_settings.dialect == SIM_VLLM)
				sim_buf_puts(body, ",\"refusal\":null,\"annotations\":null,\"tool_calls\":[],\"reasoning\":null");
			else if (sim_settings.dialect == SIM_OPENAI)
				sim_buf_puts(body, ",\"refusal\":null,\"annotations\":[]");
			break;
		case SIM_IN_REASONING_CONTENT:
		case SIM_IN_REASONING:
			sim_buf_printf(body, "\"content\":null,\"%s\":",
						   shape->field == SIM_IN_REASONING ?
						   "reasoning" : "reasoning_content");
			append_text(body, text->data, text->len, mark, shape);
			break;
		case SIM_IN_NOTHING:
			sim_buf_puts(body, "\"content\":null");
			break;
		case SIM_IN_PARTS:
			sim_buf_puts(body, "\"content\":[{\"type\":\"text\",\"text\":");
			append_text(body, text->data, text->len, mark, shape);
			sim_buf_puts(body, "}]");
			break;
	}
	sim_buf_puts(body, "}");
}

/* Returns the choice's tokens */
static int
append_choice(SimBuf *body, const SimWish *wish, const SimShape *shape,
			  int number)
{
	static SimBuf text;			/* kept for its memory */
	const char *finish = "stop";
	size_t		mark;

	text.len = 0;
	write_text(&text, wish, shape, number, &mark);
	if (wish->nstop > 0)
		cut_at_stop(&text, wish);
	if (cut_to_tokens(&text, wish->max_tokens))
		finish = "length";
	if (shape->finish != NULL)
		finish = shape->finish;

	sim_buf_printf(body, "{\"index\":%d,", number);
	append_message(body, &text, mark, shape);
	sim_buf_printf(body, ",\"logprobs\":null,\"finish_reason\":\"%s\"",
				   finish);
	if (sim_settings.dialect == SIM_SGLANG)
		sim_buf_puts(body, ",\"matched_stop\":151645");
	else if (sim_settings.dialect == SIM_VLLM)
		sim_buf_puts(body, ",\"stop_reason\":null");
	sim_buf_puts(body, "}");
	if (shape->used_up && wish->max_tokens > 0)
		return wish->max_tokens;
	return sim_tokens(text.len);
}

static void
append_usage(SimBuf *body, const SimWish *wish, int completion)
{
	sim_buf_printf(body,
				   ",\"usage\":{\"prompt_tokens\":%d,\"total_tokens\":%d,\"completion_tokens\":%d",
				   wish->prompt_tokens, wish->prompt_tokens + completion,
				   completion);
	if (sim_settings.dialect == SIM_LLAMACPP ||
		sim_settings.dialect == SIM_OPENAI)
		sim_buf_printf(body,
					   ",\"prompt_tokens_details\":{\"cached_tokens\":%d}",
					   wish->cached_tokens);
	else
		sim_buf_puts(body, ",\"prompt_tokens_details\":null");
	sim_buf_puts(body, "}");
}

static void
append_head(SimBuf *body, const char *model)
{
	sim_buf_printf(body,
				   "{\"id\":\"%s%016llx\",\"object\":\"chat.completion\",\"created\":%ld,\"model\":",
				   sim_settings.dialect == SIM_SGLANG ? "" : "chatcmpl-",
				   (unsigned long long) sim_hash(NULL, 0, ++replies),
				   (long) time(NULL));
	sim_buf_json(body, model);
}

int
sim_reply_make(SimBuf *body, const SimWish *wish, const SimShape *shape,
			   int *total)
{
	int			longest = 0;
	int			sum = 0;
	int			first = 0;

	append_head(body, wish->model);
	if (shape->choices != NULL)
	{
		if (shape->choices[0] != '\0')
			sim_buf_printf(body, ",\"choices\":%s", shape->choices);
	}
	else
	{
		int			n = wish->n - shape->drop;

		sim_buf_puts(body, ",\"choices\":[");
		for (int i = 0; i < n; i++)
		{
			int			number = shape->reversed ? n - 1 - i : i;
			int			tokens;

			if (i > 0)
				sim_buf_append(body, ",", 1);
			tokens = append_choice(body, wish, shape, number);
			if (number == 0)
				first = tokens;
			sum += tokens;
			if (tokens > longest)
				longest = tokens;
		}
		sim_buf_append(body, "]", 1);
	}
	if (shape->usage == NULL)
		/* llama-server counts one choice only */
		append_usage(body, wish,
					 sim_settings.dialect == SIM_LLAMACPP ? first : sum);
	else if (shape->usage[0] != '\0')
		sim_buf_printf(body, ",\"usage\":%s", shape->usage);
	if (sim_settings.dialect == SIM_SGLANG)
		sim_buf_puts(body, ",\"metadata\":{\"weight_version\":\"default\"}");
	else if (sim_settings.dialect == SIM_LLAMACPP)
		sim_buf_puts(body, ",\"system_fingerprint\":\"b11669-sim\"");
	else if (sim_settings.dialect == SIM_OPENAI)
		sim_buf_puts(body, ",\"service_tier\":\"default\",\"system_fingerprint\":null");
	sim_buf_puts(body, "}");
	*total = sum;
	return longest;
}

void
sim_reply_fixed(SimBuf *body, int score)
{
	char		number[16];
	SimShape	shape = {.score = number};
	SimWish		wish = {.n = 1,.max_tokens = -1,.prompt_tokens = 1000};
	int			total;

	snprintf(number, sizeof(number), "%d", score);
	wish.model = sim_options.nmodels > 0 ? sim_options.models[0] : "default";
	wish.pair.query = "what makes a replica fall behind its primary";
	wish.pair.query_len = strlen(wish.pair.query);
	wish.pair.doc = "A standby that replays write-ahead log more slowly than it is produced falls behind.";
	wish.pair.doc_len = strlen(wish.pair.doc);
	sim_reply_make(body, &wish, &shape, &total);
}
