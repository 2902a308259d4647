/*-------------------------------------------------------------------------
 *
 * score.c
 *		How relevant a document is to a query, by the words they share.
 *
 * Called by: chat.c, text.c.
 *
 * The mean of a pair grows with the share of the query's words that the
 * document has: none gives 1..10, a quarter about 18, half about 37, all
 * 81..96.  Words are compared by the hash of a crude stem of at most six
 * letters, so "replicas" finds "replication".  A small part of the mean
 * depends on the pair alone, as a real model's error does: more samples do
 * not remove it.  Samples spread about the mean, most in the middle of the
 * scale, in proportion to the temperature.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "score.h"

#define SIM_MAX_TERMS 256		/* of a query; more are not looked at */
#define SIM_TERM_SLOTS 1024		/* a power of two, well over the terms */
#define SIM_STEM_LEN 6
#define SIM_STOP_SLOTS 512		/* about four times the stop words */
#define SIM_STOP_LEN 7			/* of the longest one */

typedef struct TermTable
{
	uint32_t	hash[SIM_TERM_SLOTS];	/* 0: free */
	float		weight[SIM_TERM_SLOTS];
	bool		found[SIM_TERM_SLOTS];
	int			count;
	double		total;
} TermTable;

static const char *const stop_words[] = {
	"a", "about", "above", "after", "again", "all", "also", "am", "an", "and",
	"any", "are", "as", "at", "be", "because", "been", "being", "but", "by",
	"can", "could", "did", "do", "does", "doing", "for", "from", "had", "has",
	"have", "having", "he", "her", "here", "his", "how", "i", "if", "in",
	"into", "is", "it", "its", "just", "me", "more", "most", "my", "no", "not",
	"of", "on", "only", "or", "other", "our", "out", "over", "should", "so",
	"some", "such", "than", "that", "the", "their", "them", "then", "there",
	"these", "they", "this", "those", "to", "too", "very", "was", "we", "were",
	"what", "when", "where", "which", "while", "who", "why", "will", "with",
	"would", "you", "your",
};

static inline uint64_t
mix(uint64_t x)
{
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	x ^= x >> 32;
	x *= UINT64_C(0xd6e8feb86659fd93);
	return x ^ (x >> 32);
}

uint64_t
sim_hash(const void *data, size_t len, uint64_t seed)
{
	const unsigned char *p = data;
	uint64_t	h = seed ^ (len * UINT64_C(0x9e3779b97f4a7c15));
	uint64_t	w;

	for (; len >= 8; p += 8, len -= 8)
	{
		memcpy(&w, p, 8);
		h = (h ^ w) * UINT64_C(0x9fb21c651e98df25);
		h ^= h >> 29;
	}
	w = 0;
	if (len > 0)
		memcpy(&w, p, len);
	return mix((h ^ w) * UINT64_C(0x9fb21c651e98df25));
}

uint64_t
sim_rng_next(SimRng *rng)
{
	rng->state += UINT64_C(0x9e3779b97f4a7c15);
	return mix(rng->state);
}

double
sim_rng_uniform(SimRng *rng)
{
	return (sim_rng_next(rng) >> 11) / 9007199254740992.0;	/* 2^53 */
}

static const char *
find(const char *hay, size_t len, const char *needle)
{
	return memmem(hay, len, needle, strlen(needle));
}

/* The text between two marks, into *piece; the end of it, or NULL */
static const char *
between(const char *text, size_t len, const char *begin, const char *end,
		const char **piece, size_t *piece_len)
{
	const char *from = find(text, len, begin);
	const char *to;

	if (from == NULL)
		return NULL;
	from += strlen(begin);
	to = find(from, text + len - from, end);
	if (to == NULL)
		to = text + len;
	*piece = from;
	*piece_len = to - from;
	return to;
}

void
sim_score_split(const char *prompt, size_t len, SimPair *pair)
{
	static const char *const marks[][4] = {
		{"[Begin of Query]\n", "\n[End of Query]",
		"[Begin of Document]\n", "\n[End of Document]"},
		{"Here is the query:\n", "\n\nHere is the document:",
		"Here is the document:\n", "\n\nAfter thinking"},
	};
	const char *rest;

	pair->form = SIM_FORM_RETRO_STAR;
	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
	{
		rest = between(prompt, len, marks[i][0], marks[i][1], &pair->query,
					   &pair->query_len);
		if (rest != NULL &&
			between(rest, prompt + len - rest, marks[i][2], marks[i][3],
					&pair->doc, &pair->doc_len) != NULL)
			return;
		/* Any but Retro*'s says how */
		pair->form = find(prompt, len, "<answer>") ? SIM_FORM_ANSWER :
			find(prompt, len, "Relevance score:") ? SIM_FORM_WORDS :
			SIM_FORM_RETRO_STAR;
	}
	rest = memchr(prompt, '\n', len);
	if (rest == NULL)
		rest = prompt + len;
	pair->query = prompt;
	pair->query_len = rest - prompt;
	pair->doc = rest;
	pair->doc_len = prompt + len - rest;
}

/* Lower case of the bytes that words have, 0 for the others */
static unsigned char lower[256];

/* Hashes of the stop words, open-addressed; 0: free */
static uint32_t stop_hashes[SIM_STOP_SLOTS];

static inline uint32_t
hash_word(const char *w, size_t len)
{
	uint32_t	h = 2166136261u;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (unsigned char) w[i]) * 16777619u;
	return h ? h : 1;
}

static bool
is_stop_hash(uint32_t hash)
{
	unsigned	i = hash % SIM_STOP_SLOTS;

	while (stop_hashes[i] != 0)
	{
		if (stop_hashes[i] == hash)
			return true;
		i = (i + 1) % SIM_STOP_SLOTS;
	}
	return false;
}

static void
make_tables(void)
{
	for (int c = 0; c < 256; c++)
		lower[c] = c >= 'A' && c <= 'Z' ? c + 32 :
			c >= 0x80 || isalnum(c) ? c : 0;
	for (size_t i = 0; i < sizeof(stop_words) / sizeof(stop_words[0]); i++)
	{
		uint32_t	h = hash_word(stop_words[i], strlen(stop_words[i]));
		unsigned	slot = h % SIM_STOP_SLOTS;

		while (stop_hashes[slot] != 0)
			slot = (slot + 1) % SIM_STOP_SLOTS;
		stop_hashes[slot] = h;
	}
}

/* Scripts without spaces (kana to Hangul), by a character's first byte */
static inline bool
is_lone(char c)
{
	return (unsigned char) c >= 0xE3 && (unsigned char) c <= 0xED;
}

int
sim_score_word(const char **pos, const char *end, const char **word,
			   size_t *len)
{
	const char *p = *pos;

	if (lower['a'] == 0)
		make_tables();
	while (p < end && lower[(unsigned char) *p] == 0)
		p++;
	if (p == end)
		return 0;
	*word = p;
	if (is_lone(*p))
		p += end - p >= 3 ? 3 : end - p;
	else
	{
		while (p < end && lower[(unsigned char) *p] != 0 && !is_lone(*p))
			p++;
	}
	*len = p - *word;
	*pos = p;
	return 1;
}

/* Drops one of the usual endings, if enough is left of the word */
static size_t
stem(const char *w, size_t len)
{
	size_t		n = 0;

	if (len >= 4)
	{
		char		last = w[len - 1];
		char		before = w[len - 2];

		if (last == 's')
			n = before == 'e' && len >= 5 ? 2 : 1;
		else if (len >= 5 && ((last == 'd' && before == 'e') ||
							  (last == 'y' && before == 'l')))
			n = 2;
		else if (len >= 6 && last == 'g' && before == 'n' && w[len - 3] == 'i')
			n = w[len - 4] == w[len - 5] ? 4 : 3;	/* running: run */
	}
	len -= n;
	if (len > 3 && w[len - 1] == 'e')
		len--;
	return len > SIM_STEM_LEN ? SIM_STEM_LEN : len;
}

/* The next word's hash, 0 at the end of the text; *letters is its length */
static uint32_t
next_term(const char **pos, const char *end, size_t *letters)
{
	const char *word;
	size_t		len;

	while (sim_score_word(pos, end, &word, &len))
	{
		char		low[32];

		if (len < 2)
			continue;
		*letters = len;
		if (len > sizeof(low))
			len = sizeof(low);
		for (size_t i = 0; i < len; i++)
			low[i] = lower[(unsigned char) word[i]];
		if (len <= SIM_STOP_LEN && is_stop_hash(hash_word(low, len)))
			continue;
		return hash_word(low, stem(low, len));
	}
	return 0;
}

/* The term's slot, or the free one where it would be */
static unsigned
slot_of(const TermTable *table, uint32_t hash)
{
	unsigned	i = (hash ^ (hash >> 16)) % SIM_TERM_SLOTS;

	while (table->hash[i] != 0 && table->hash[i] != hash)
		i = (i + 1) % SIM_TERM_SLOTS;
	return i;
}

static void
collect_query(TermTable *table, const SimPair *pair)
{
	const char *pos = pair->query;
	uint32_t	hash;
	size_t		letters;

	memset(table->hash, 0, sizeof(table->hash));
	table->count = 0;
	table->total = 0;
	while (table->count < SIM_MAX_TERMS &&
		   (hash = next_term(&pos, pair->query + pair->query_len,
							 &letters)) != 0)
	{
		unsigned	i = slot_of(table, hash);

		if (table->hash[i] == hash)
			continue;
		table->hash[i] = hash;
		table->found[i] = false;
		table->weight[i] = letters > 4 ? 1.5 : 1.0;
		table->total += table->weight[i];
		table->count++;
	}
}

double
sim_score_mean(const SimPair *pair, uint64_t prompt_hash)
{
	TermTable	table;
	const char *pos = pair->doc;
	double		own = ((prompt_hash >> 20) % 6001) / 1000.0 - 3.0;
	double		matched = 0;
	double		wanted;
	double		share;
	double		dense;
	double		mean;
	long		words = 0;
	long		hits = 0;
	uint32_t	hash;
	size_t		letters;

	collect_query(&table, pair);
	while ((hash = next_term(&pos, pair->doc + pair->doc_len, &letters)) != 0)
	{
		unsigned	i = slot_of(&table, hash);

		words++;
		if (table.hash[i] != hash)
			continue;
		hits++;
		if (!table.found[i])
		{
			table.found[i] = true;
			matched += table.weight[i];
		}
	}

	/* Nobody expects every word of a long question in the answer */
	wanted = table.total;
	if (table.count > 10)
		wanted *= (10 + (table.count - 10) * 0.5) / table.count;
	share = wanted > 0 ? fmin(1.0, matched / wanted) : 0;
	dense = words > 0 ? fmin(1.0, 5.0 * hits / words) : 0;
	mean = 4 + own + 74 * pow(share, 1.25) +
		15 * share * share * (0.4 + 0.6 * dense);
	return fmax(1, fmin(97, mean));
}

int
sim_score_sample(double mean, double temperature, SimRng *rng)
{
	double		sd = (1.5 + 5.5 * 4 * mean * (100 - mean) / 10000) *
		temperature / 0.6;
	double		u = 1 - sim_rng_uniform(rng);
	double		normal = sqrt(-2 * log(u)) *
		cos(2 * M_PI * sim_rng_uniform(rng));

	return (int) fmax(0, fmin(100, round(mean + sd * normal)));
}
