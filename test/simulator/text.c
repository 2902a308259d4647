/*-------------------------------------------------------------------------
 *
 * text.c
 *		The reasoning that a model would write before its score.
 *
 * Called by: reply.c.
 *
 * Words of query and document are quoted, but letters and digits only, so that
 * no text from outside can form a tag here; failures that want a quoted tag
 * add it themselves (reply.c).
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "text.h"

#define SIM_QUOTED_WORD_LEN 40

static const char *const query_more[] = {
	"The intent behind it is to obtain a concrete explanation and not a list of loosely connected facts. ",
	"A helpful document would define the central terms, say under which conditions they apply and give at least one worked example. ",
	"Background that only shares vocabulary with the question would be of little use to the person who asks. ",
	"Ideally the source would be authoritative, and specific about limits and exceptions. ",
	"Because the wording leaves room for interpretation, documents that cover the most likely reading should be preferred. ",
};

static const char *const doc_more[] = {
	"It is written in a descriptive tone and stays close to one topic from the beginning to the end. ",
	"Some of the statements are general, others name concrete settings, names and numbers that can be checked. ",
	"What it leaves open is how far its statements carry over to the situation that the query describes. ",
	"There is no direct contradiction to anything that the query takes for granted. ",
	"The most relevant part comes early, the remainder adds detail that is of interest mainly to specialists. ",
};

static const char *const verdicts[] = {
	"The document does not address the intent of the query; whatever words they share, the topic is another one, so it falls into the lowest band of the scale. ",
	"The document mentions some of the words of the query, but its main topic is different and its value for the query is very limited. ",
	"The document is on topic and addresses a part of the intent of the query, but it is not a comprehensive answer to it. ",
	"The document substantially addresses the intent of the query and provides most of the key information, missing only some minor details. ",
	"The document directly and comprehensively addresses the intent of the query and can count as a core answer. ",
};

static const char *const verdict_more[] = {
	"I weighed the overlap of the key terms more than the style of the text. ",
	"Another annotator might differ by a few points, but hardly by a whole band of the rubric. ",
	"The missing pieces would have to come from another source. ",
	"Taken together, this places it where the rubric describes exactly such a case. ",
};

/* "n" words of a text, from a random place, in one line */
static void
quote(SimBuf *buf, const char *text, size_t text_len, int n, SimRng *rng)
{
	const char *end = text + text_len;
	const char *pos = text;
	const char *word;
	size_t		len;
	int			written = 0;

	if (text_len > 200)
		pos += sim_rng_next(rng) % (text_len - 150);

	/* Not into the middle of a word */
	while (pos > text && pos < end && pos[-1] != ' ' && pos[-1] != '\n')
		pos++;
	if (pos == end)
		pos = text;
	while (written < n && sim_score_word(&pos, end, &word, &len))
	{
		if (len > SIM_QUOTED_WORD_LEN)
		{
			/* Cut before a character, not inside */
			len = SIM_QUOTED_WORD_LEN;
			while (len > 0 && ((unsigned char) word[len] & 0xC0) == 0x80)
				len--;
		}
		if (written++ > 0)
			sim_buf_append(buf, " ", 1);
		sim_buf_append(buf, word, len);
	}
}

/* "n" sentences of a list, in its order, from a random one on */
static void
fill(SimBuf *buf, const char *const *list, size_t list_len, int n, SimRng *rng)
{
	size_t		i = sim_rng_next(rng) % list_len;

	while (n-- > 0)
		sim_buf_puts(buf, list[i++ % list_len]);
}

#define FILL(list, n) fill(buf, list, sizeof(list) / sizeof(list[0]), n, rng)

void
sim_text_reasoning(SimBuf *buf, const SimPair *pair, int score, SimRng *rng)
{
	int			band = score >= 100 ? 4 : score / 20;

	sim_buf_puts(buf, "1. Query Analysis:\nThe query speaks of \"");
	quote(buf, pair->query, pair->query_len, 6, rng);
	sim_buf_puts(buf, "\". The most helpful information would explain this directly, with the facts that are needed to act on it. ");
	FILL(query_more, 1 + sim_rng_next(rng) % 4);

	sim_buf_puts(buf, "\n\n2. Document Analysis:\nThe document contains the passage \"");
	quote(buf, pair->doc, pair->doc_len, 9, rng);
	sim_buf_puts(buf, "\" and, further on, \"");
	quote(buf, pair->doc, pair->doc_len, 7, rng);
	sim_buf_puts(buf, "\". ");
	sim_buf_puts(buf, band >= 3 ?
				 "These passages bear on what the query asks for, and they can be used for an answer. " :
				 band >= 1 ?
				 "These passages touch what the query asks for, without settling it. " :
				 "None of this bears on what the query asks for. ");
	FILL(doc_more, 1 + sim_rng_next(rng) % 4);

	sim_buf_puts(buf, "\n\n3. Relevance Annotation:\n");
	sim_buf_puts(buf, verdicts[band]);
	FILL(verdict_more, 1 + sim_rng_next(rng) % 3);
	sim_buf_printf(buf, "On the scale from 0 to 100 I therefore settle on a value in the band from %d to %d.\n\n",
				   band * 20, band * 20 + 20);
}
