/*-------------------------------------------------------------------------
 *
 * passes_sim.c
 *		What the policies of src/passes.c cost and keep, in a simulated world.
 *
 * Calls: src/passes.c, the file that ships.  See README for what is printed
 * and when the exit status is 1.
 *
 * A query has a pool of documents with a true score each.  The first 100 of
 * a noisy retriever are the candidates; a sample of one is its true score
 * plus noise.  All samples that any policy could ask for are drawn before,
 * so that policies see the same ones and their differences are better known
 * than their levels.
 *
 * The world's shape follows the scores that the Retro* paper shows; three
 * parameters (retriever's strength, share of hard negatives, noise) were
 * fitted by the study of adaptive sampling so that retriever, one sample and
 * 16 samples have the paper's nDCG@10 of 32.5, 36.6 and 38.7.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <getopt.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "passes.h"

#define POOL 500
#define CANDIDATES 100
#define TOP 10

/* Relevant documents: how many, found in the pool, misjudged by the scorer */
#define RELEVANT_MEAN 5.0
#define RELEVANT_MOST 60
#define RELEVANT_IN_POOL 0.85
#define RELEVANT_MISJUDGED 0.28

/* Hard negatives: fitted share of the others, its spread over queries */
#define HARD_SHARE 0.08017
#define HARD_MOST 0.9
#define HARD_LOG_SD 0.6

/* Retriever: fitted weight of relevance, weight of the true score */
#define RETRIEVER_RELEVANCE 1.1593
#define RETRIEVER_SCORE 0.5

/* A shift of all true scores of a query */
#define SHIFT_SD 5.0

/*
 * Noise of a sample: fitted standard deviation at score 50, what is left of
 * it at 0 and 100, spread over documents and queries, and its bounds
 */
#define NOISE_SD 7.203
#define NOISE_AT_ENDS 0.35
#define NOISE_LOG_SD_DOCUMENT 0.3
#define NOISE_LOG_SD_QUERY 0.25
#define NOISE_LEAST 0.45
#define NOISE_MOST 2.0

/* Share of the samples that the model rounds to a multiple of 5 */
#define ROUNDED 0.9

/* Most samples of one document: the reference draws 1 + 16 */
#define DRAWN 17

/*
 * What the study reports of "adaptive": share of the gain kept and its
 * standard error in percent, samples (as a whole number), over so many
 * queries
 */
#define STUDY_KEPT 95.7
#define STUDY_KEPT_SE 0.5
#define STUDY_SAMPLES 260.0
#define STUDY_QUERIES 200000.0

/* Sums over queries of a value and of its square */
typedef struct Sum
{
	double		x;
	double		xx;
} Sum;

typedef struct Random
{
	uint64_t	state;
} Random;

typedef struct Document
{
	double		score;			/* true one, before noise and rounding */
	double		attraction;		/* the retriever sorts by it */
	double		sd;				/* of the noise */
	bool		relevant;
} Document;

typedef struct Query
{
	int			nrelevant;		/* in the whole corpus */
	bool		relevant[CANDIDATES];	/* in the retriever's order */
	double		expected[CANDIDATES];	/* mean of infinitely many samples */
	int			drawn[CANDIDATES][DRAWN];
} Query;

/* What a policy made of one query */
typedef struct Run
{
	int			order[CANDIDATES];
	int			samples;
	int			rounds;
	int			again;			/* samples that the same query would ask next time */
} Run;

typedef struct Policy
{
	const char *name;
	const char *passes;			/* NULL: the reference's two passes */
	RstarPassesSpec spec;
	Sum			samples;
	Sum			rounds;
	Sum			again;
	Sum			ndcg;
	Sum			recall;
	Sum			exact;
	Sum			gain;			/* over one sample, of which ... */
	Sum			whole;			/* ... this is the gain of 16 */
	double		product;		/* of the two, summed */
} Policy;

/* The constants below are places in this list */
static const Policy policies[] = {
	{.name = "1", .passes = "1"},
	{.name = "16", .passes = "16"},
	{.name = "4", .passes = "4"},
	{.name = "reference 100@1, 30@16"},
	{.name = "100@1,30@16", .passes = "100@1,30@16"},
	{.name = "adaptive", .passes = "adaptive"},
	{.name = "adaptive:1,2,4,8", .passes = "adaptive:1,2,4,8"},
	{.name = "adaptive:1,2,4", .passes = "adaptive:1,2,4"},
	{.name = "members", .passes = "members"}
};

#define NPOLICIES ((int) (sizeof(policies) / sizeof(policies[0])))
#define ONE 0
#define SIXTEEN 1
#define ADAPTIVE 5

/* A table: the order in which a caller hands in documents breaks ties */
typedef struct Table
{
	const char *name;
	const char *title;
	bool		shuffled;
	Policy		policies[NPOLICIES];
} Table;

typedef struct Options
{
	int			queries;
	uint64_t	seed;
	bool		json;
} Options;

static Options options = {.queries = 20000, .seed = 1};

static void read_options(int argc, char **argv);
static void simulate(Table *tables, int ntables);
static void make_query(Query *query, Random *random);
static void make_pool(Document *pool, int *nrelevant, Random *random);
static int	by_attraction(const void *a, const void *b);
static double expected_score(const Document *doc);
static double reaches(const Document *doc, double threshold);
static int	draw_sample(const Document *doc, Random *random);
static void measure(Table *table, const Query *query, const int *callers_order);
static void run_policy(const RstarPassesSpec *spec, const Query *query,
					   const int *callers_order, Run *run);
static void run_reference(const Query *query, const int *callers_order, Run *run);
static int	ask(RstarPasses *passes, const Query *query, const int *docs, int ndocs, int skip,
				int *have);
static void feed(RstarPasses *passes, const Query *query, const int *docs, int doc, int skip,
				 int samples);
static RstarPassesSpec parse(const char *text);
static double ndcg(const Query *query, const int *order);
static int	found(const Query *query, const int *order);
static int	descending(const void *a, const void *b);
static void print_table(const Table *table);
static void print_json(const Table *tables, int ntables, bool ok);
static double kept(const Policy *policy, double *se);
static bool check_study(const Policy *policy);
static double kept_tolerance(const Policy *policy);
static double samples_tolerance(const Policy *policy);
static void add(Sum *sum, double x);
static double mean_of(Sum sum);
static double se_of(Sum sum);
static uint64_t mix(uint64_t x);
static double uniform(Random *random);
static double normal(Random *random);
static double gamma_variate(Random *random, double shape);
static double beta_score(Random *random, double a, double b);

int
main(int argc, char **argv)
{
	static Table tables[] = {
		{.name = "arbitrary", .title = "ties broken arbitrarily, as in the study", .shuffled = true},
		{.name = "caller", .title = "ties broken by the retriever's order, as shipped"}
	};
	const Policy *adaptive = &tables[0].policies[ADAPTIVE];
	bool		ok;

	read_options(argc, argv);
	simulate(tables, 2);
	ok = check_study(adaptive);
	if (options.json)
	{
		print_json(tables, 2, ok);
		return !ok;
	}
	printf("%d queries, seed %llu\n", options.queries, (unsigned long long) options.seed);
	for (int i = 0; i < 2; i++)
		print_table(&tables[i]);
	printf("\nadaptive against the study: kept %.1f %% for %.1f +- %.1f, "
		   "samples %.1f for %.0f +- %.1f: %s\n",
		   kept(adaptive, NULL), STUDY_KEPT, kept_tolerance(adaptive),
		   mean_of(adaptive->samples), STUDY_SAMPLES, samples_tolerance(adaptive),
		   ok ? "ok" : "NOT REPRODUCED");
	return !ok;
}

static void
read_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{"queries", required_argument, NULL, 'q'},
		{"seed", required_argument, NULL, 's'},
		{"json", no_argument, NULL, 'j'},
		{NULL, 0, NULL, 0}
	};
	int			c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1)
	{
		if (c == 'q')
			options.queries = atoi(optarg);
		else if (c == 's')
			options.seed = strtoull(optarg, NULL, 10);
		else if (c == 'j')
			options.json = true;
		else
			options.queries = 0;
	}
	if (optind < argc || options.queries < 2)
	{
		fprintf(stderr, "usage: passes_sim [--queries N] [--seed N] [--json]\n");
		exit(2);
	}
}

static void
simulate(Table *tables, int ntables)
{
	for (int t = 0; t < ntables; t++)
		for (int i = 0; i < NPOLICIES; i++)
		{
			Policy	   *policy = &tables[t].policies[i];

			*policy = policies[i];
			if (policy->passes != NULL)
				policy->spec = parse(policy->passes);
		}
	for (int q = 0; q < options.queries; q++)
	{
		Random		random = {mix(mix(options.seed) + (uint64_t) q)};
		int			retrieved[CANDIDATES];
		int			shuffled[CANDIDATES];
		Query		query;

		make_query(&query, &random);
		for (int i = 0; i < CANDIDATES; i++)
		{
			int			j = (int) (uniform(&random) * (i + 1));

			retrieved[i] = i;
			if (j != i)
				shuffled[i] = shuffled[j];
			shuffled[j] = i;
		}
		for (int t = 0; t < ntables; t++)
			measure(&tables[t], &query, tables[t].shuffled ? shuffled : retrieved);
	}
}

static RstarPassesSpec
parse(const char *text)
{
	RstarPassesSpec spec;
	int			position;

	if (rstar_passes_parse(&spec, text, strlen(text), &position) != RSTAR_PASSES_OK)
	{
		fprintf(stderr, "passes_sim: cannot parse \"%s\"\n", text);
		exit(2);
	}
	return spec;
}

/* The world */

static void
make_query(Query *query, Random *random)
{
	Document	pool[POOL];

	make_pool(pool, &query->nrelevant, random);
	qsort(pool, POOL, sizeof(Document), by_attraction);
	for (int i = 0; i < CANDIDATES; i++)
	{
		query->relevant[i] = pool[i].relevant;
		query->expected[i] = expected_score(&pool[i]);
		for (int j = 0; j < DRAWN; j++)
			query->drawn[i][j] = draw_sample(&pool[i], random);
	}
}

static void
make_pool(Document *pool, int *nrelevant, Random *random)
{
	double		shift = SHIFT_SD * normal(random);
	double		query_noise = NOISE_LOG_SD_QUERY * normal(random);
	double		hard = HARD_SHARE * exp(HARD_LOG_SD * normal(random) - HARD_LOG_SD * HARD_LOG_SD / 2);
	double		more = log(uniform(random)) / log(1 - 1 / RELEVANT_MEAN);
	int			in_pool = 0;

	/* one, and a geometric number more */
	*nrelevant = more > RELEVANT_MOST - 1 ? RELEVANT_MOST : 1 + (int) more;
	for (int i = 0; i < *nrelevant; i++)
		in_pool += uniform(random) < RELEVANT_IN_POOL;

	for (int i = 0; i < POOL; i++)
	{
		Document   *doc = &pool[i];
		double		score;
		double		middle;
		double		factor;

		doc->relevant = i < in_pool;
		if (doc->relevant)
			score = uniform(random) < RELEVANT_MISJUDGED ?
				beta_score(random, 1.6, 2.6) : beta_score(random, 7, 2.6);
		else
			score = uniform(random) < fmin(hard, HARD_MOST) ?
				beta_score(random, 2.8, 2.6) : beta_score(random, 1.3, 6);
		score += shift;
		doc->attraction = RETRIEVER_RELEVANCE * doc->relevant +
			RETRIEVER_SCORE * (score - 30) / 25 + normal(random);
		doc->score = fmin(fmax(score, 1), 99);

		middle = sqrt(4 * doc->score / 100 * (1 - doc->score / 100));	/* 1 at score 50 */
		factor = exp(NOISE_LOG_SD_DOCUMENT * normal(random) + query_noise);
		doc->sd = NOISE_SD * (NOISE_AT_ENDS + (1 - NOISE_AT_ENDS) * middle) *
			fmin(fmax(factor, NOISE_LEAST), NOISE_MOST);
	}
}

static int
by_attraction(const void *a, const void *b)
{
	double		x = ((const Document *) a)->attraction;
	double		y = ((const Document *) b)->attraction;

	return (x < y) - (x > y);
}

static int
draw_sample(const Document *doc, Random *random)
{
	double		score = doc->score + doc->sd * normal(random);
	int			whole = (int) floor(fmin(fmax(score, 0), 100) + 0.5);

	return uniform(random) < ROUNDED ? (whole + 2) / 5 * 5 : whole;
}

/*
 * The mean of what draw_sample returns.  A sample is at least v when the
 * score is at least v - 0.5, or v - 2.5 where it goes by fives.
 */
static double
expected_score(const Document *doc)
{
	double		by_ones = 0;
	double		by_fives = 0;

	for (int v = 1; v <= 100; v++)
		by_ones += reaches(doc, v - 0.5);
	for (int v = 5; v <= 100; v += 5)
		by_fives += 5 * reaches(doc, v - 2.5);
	return ROUNDED * by_fives + (1 - ROUNDED) * by_ones;
}

/* The probability that a score with its noise reaches a threshold */
static double
reaches(const Document *doc, double threshold)
{
	double		z = (threshold - doc->score) / doc->sd;

	if (fabs(z) > 6)
		return z < 0;
	return 0.5 * erfc(z * M_SQRT1_2);
}

/* What a policy makes of it */

static void
measure(Table *table, const Query *query, const int *callers_order)
{
	double		points[NPOLICIES];

	for (int i = 0; i < NPOLICIES; i++)
	{
		Policy	   *policy = &table->policies[i];
		int			hits;
		Run			run;

		if (policy->passes != NULL)
			run_policy(&policy->spec, query, callers_order, &run);
		else
			run_reference(query, callers_order, &run);
		points[i] = ndcg(query, run.order);
		hits = found(query, run.order);
		add(&policy->samples, run.samples);
		add(&policy->rounds, run.rounds);
		add(&policy->again, run.again);
		add(&policy->ndcg, points[i]);
		add(&policy->recall, 100.0 * hits / TOP);
		add(&policy->exact, hits == TOP ? 100 : 0);
	}
	for (int i = 0; i < NPOLICIES; i++)
	{
		double		gain = points[i] - points[ONE];
		double		whole = points[SIXTEEN] - points[ONE];

		add(&table->policies[i].gain, gain);
		add(&table->policies[i].whole, whole);
		table->policies[i].product += gain * whole;
	}
}

static void
run_policy(const RstarPassesSpec *spec, const Query *query, const int *callers_order, Run *run)
{
	void	   *memory = malloc(rstar_passes_size(CANDIDATES));
	RstarPasses *passes = rstar_passes_create(memory, spec, CANDIDATES, TOP);
	int			have[CANDIDATES] = {0};
	int			paid;

	memset(run, 0, sizeof(Run));
	while ((paid = ask(passes, query, callers_order, CANDIDATES, 0, have)) > 0)
	{
		run->samples += paid;
		run->rounds++;
	}
	rstar_passes_order(passes, run->order);
	for (int i = 0; i < CANDIDATES; i++)
		run->order[i] = callers_order[run->order[i]];

	/* the next time all of these samples are known from the start */
	passes = rstar_passes_create(memory, spec, CANDIDATES, TOP);
	for (int i = 0; i < CANDIDATES; i++)
		feed(passes, query, callers_order, i, 0, have[i]);
	while ((paid = ask(passes, query, callers_order, CANDIDATES, 0, have)) > 0)
		run->again += paid;
	free(memory);
}

/* The reference: the best 30 by one sample, in the order of 16 other ones */
static void
run_reference(const Query *query, const int *callers_order, Run *run)
{
	RstarPassesSpec one = parse("1");
	RstarPassesSpec sixteen = parse("16");
	void	   *memory = malloc(rstar_passes_size(CANDIDATES));
	RstarPasses *passes = rstar_passes_create(memory, &one, CANDIDATES, 0);
	int			have[CANDIDATES] = {0};
	int			order[CANDIDATES];
	bool		best[CANDIDATES] = {false};
	int			docs[30];
	int			ndocs = 0;

	memset(run, 0, sizeof(Run));
	run->rounds = 2;
	run->samples = ask(passes, query, callers_order, CANDIDATES, 0, have);
	rstar_passes_order(passes, order);
	for (int i = 0; i < CANDIDATES; i++)
	{
		run->order[i] = callers_order[order[i]];
		best[order[i]] = i < 30;
	}
	for (int i = 0; i < CANDIDATES; i++)
		if (best[i])
			docs[ndocs++] = callers_order[i];

	memset(have, 0, sizeof(have));
	passes = rstar_passes_create(memory, &sixteen, ndocs, 0);
	run->samples += ask(passes, query, docs, ndocs, 1, have);
	rstar_passes_order(passes, order);
	for (int i = 0; i < ndocs; i++)
		run->order[i] = docs[order[i]];
	free(memory);
}

/*
 * One round: gives each document what it is to have, of its drawn samples
 * but for the first "skip".  Returns how many samples were paid.
 */
static int
ask(RstarPasses *passes, const Query *query, const int *docs, int ndocs, int skip, int *have)
{
	int			paid = 0;

	if (rstar_passes_next(passes) == 0)
		return 0;
	for (int i = 0; i < ndocs; i++)
	{
		int			target = rstar_passes_target(passes, i);

		if (target == 0)
			continue;
		paid += target - have[i];
		have[i] = target;
		feed(passes, query, docs, i, skip, target);
	}
	return paid;
}

static void
feed(RstarPasses *passes, const Query *query, const int *docs, int doc, int skip, int samples)
{
	RstarPassesKnown known = {samples, 0, 0, false};

	for (int i = skip; i < skip + samples; i++)
	{
		int			score = query->drawn[docs[doc]][i];

		known.sum += score;
		known.sum_squares += score * score;
	}
	if (!rstar_passes_feed(passes, doc, &known))
	{
		fprintf(stderr, "passes_sim: document %d refused\n", doc);
		exit(2);
	}
}

/* Measures */

static double
ndcg(const Query *query, const int *order)
{
	double		dcg = 0;
	double		ideal = 0;

	for (int i = 0; i < TOP; i++)
	{
		double		discount = 1 / log2(i + 2);

		dcg += query->relevant[order[i]] ? discount : 0;
		ideal += i < query->nrelevant ? discount : 0;
	}
	return 100 * dcg / ideal;
}

/* How many of the first ten belong there by their expected score */
static int
found(const Query *query, const int *order)
{
	double		sorted[CANDIDATES];
	int			hits = 0;

	memcpy(sorted, query->expected, sizeof(sorted));
	qsort(sorted, CANDIDATES, sizeof(double), descending);
	for (int i = 0; i < TOP; i++)
		hits += query->expected[order[i]] >= sorted[TOP - 1];
	return hits;
}

static int
descending(const void *a, const void *b)
{
	double		x = *(const double *) a;
	double		y = *(const double *) b;

	return (x < y) - (x > y);
}

static void
add(Sum *sum, double x)
{
	sum->x += x;
	sum->xx += x * x;
}

static double
mean_of(Sum sum)
{
	return sum.x / options.queries;
}

static double
se_of(Sum sum)
{
	double		mean = mean_of(sum);

	return sqrt(fmax(sum.xx / options.queries - mean * mean, 0) / (options.queries - 1));
}

/*
 * The share of the gain of 16 samples over one, in percent.  Its standard
 * error is that of a ratio of two means over the same queries.
 */
static double
kept(const Policy *policy, double *se)
{
	double		n = options.queries;
	double		whole = mean_of(policy->whole);
	double		share = mean_of(policy->gain) / whole;
	double		residual = policy->gain.xx / n - 2 * share * policy->product / n +
		share * share * policy->whole.xx / n;

	if (se != NULL)
		*se = 100 * sqrt(fmax(residual, 0) / n) / fabs(whole);
	return 100 * share;
}

static bool
check_study(const Policy *policy)
{
	return fabs(kept(policy, NULL) - STUDY_KEPT) <= kept_tolerance(policy) &&
		fabs(mean_of(policy->samples) - STUDY_SAMPLES) <= samples_tolerance(policy);
}

/* Two standard errors of the difference between this run and the study */
static double
kept_tolerance(const Policy *policy)
{
	double		se;

	(void) kept(policy, &se);
	return 2 * sqrt(se * se + STUDY_KEPT_SE * STUDY_KEPT_SE);
}

/*
 * The study gives a whole number and no error: that of rounding, and that of
 * as many queries as it had with the spread that is seen here
 */
static double
samples_tolerance(const Policy *policy)
{
	double		se = se_of(policy->samples);
	double		study = se * se * options.queries / STUDY_QUERIES;

	return 2 * sqrt(se * se + study + 1.0 / 12);
}

/* Output */

static void
print_table(const Table *table)
{
	printf("\n%s\n%-24s %15s %6s %15s %14s %14s %13s %6s\n", table->title, "passes", "samples",
		   "rounds", "nDCG@10", "kept %", "recall %", "exact %", "again");
	for (int i = 0; i < NPOLICIES; i++)
	{
		const Policy *policy = &table->policies[i];
		double		se;
		double		share = kept(policy, &se);

		printf("%-24s %7.1f +- %4.2f %6.2f %6.2f +- %5.3f %6.1f +- %4.2f %6.2f +- %4.2f "
			   "%5.1f +- %4.1f", policy->name, mean_of(policy->samples), se_of(policy->samples),
			   mean_of(policy->rounds), mean_of(policy->ndcg), se_of(policy->ndcg), share, se,
			   mean_of(policy->recall), se_of(policy->recall), mean_of(policy->exact),
			   se_of(policy->exact));
		if (policy->passes != NULL)
			printf(" %6.1f\n", mean_of(policy->again));
		else
			printf(" %6s\n", "-");
	}
}

static void
print_json(const Table *tables, int ntables, bool ok)
{
	const Policy *adaptive = &tables[0].policies[ADAPTIVE];

	printf("{\"queries\": %d, \"seed\": %llu, \"ties\": {", options.queries,
		   (unsigned long long) options.seed);
	for (int t = 0; t < ntables; t++)
	{
		printf("%s\n \"%s\": [", t ? "," : "", tables[t].name);
		for (int i = 0; i < NPOLICIES; i++)
		{
			const Policy *policy = &tables[t].policies[i];
			double		se;
			double		share = kept(policy, &se);

			printf("%s\n  {\"passes\": \"%s\", \"samples\": %.3f, \"samples_se\": %.3f, "
				   "\"rounds\": %.3f, \"ndcg\": %.4f, \"ndcg_se\": %.4f, "
				   "\"kept\": %.3f, \"kept_se\": %.3f, \"recall\": %.3f, \"recall_se\": %.3f, "
				   "\"exact\": %.2f, \"exact_se\": %.2f, \"again\": ",
				   i ? "," : "", policy->name, mean_of(policy->samples), se_of(policy->samples),
				   mean_of(policy->rounds), mean_of(policy->ndcg), se_of(policy->ndcg), share, se,
				   mean_of(policy->recall), se_of(policy->recall), mean_of(policy->exact),
				   se_of(policy->exact));
			if (policy->passes != NULL)
				printf("%.3f}", mean_of(policy->again));
			else
				printf("null}");
		}
		printf("]");
	}
	printf("},\n \"study\": {\"kept\": %.1f, \"kept_tolerance\": %.3f, \"samples\": %.0f, "
		   "\"samples_tolerance\": %.3f},\n \"ok\": %s}\n", STUDY_KEPT,
		   kept_tolerance(adaptive), STUDY_SAMPLES, samples_tolerance(adaptive),
		   ok ? "true" : "false");
}

/* Random numbers: splitmix64, Box and Muller, Marsaglia and Tsang */

static uint64_t
mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
	x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
	return x ^ (x >> 31);
}

/* Between 0 and 1, neither of them */
static double
uniform(Random *random)
{
	random->state += 0x9e3779b97f4a7c15;
	return ((double) (mix(random->state) >> 11) + 0.5) / 9007199254740992.0;
}

static double
normal(Random *random)
{
	double		radius = sqrt(-2 * log(uniform(random)));

	return radius * cos(2 * M_PI * uniform(random));
}

/* For shapes of at least one */
static double
gamma_variate(Random *random, double shape)
{
	double		d = shape - 1.0 / 3;
	double		c = 1 / sqrt(9 * d);

	for (;;)
	{
		double		x = normal(random);
		double		v = pow(1 + c * x, 3);

		if (v > 0 && log(uniform(random)) < 0.5 * x * x + d - d * v + d * log(v))
			return d * v;
	}
}

static double
beta_score(Random *random, double a, double b)
{
	double		x = gamma_variate(random, a);

	return 100 * x / (x + gamma_variate(random, b));
}
