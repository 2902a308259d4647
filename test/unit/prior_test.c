/*-------------------------------------------------------------------------
 *
 * prior_test.c
 *		Tests of src/functions/prior.c, by numbers.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>

#include "check.h"
#include "functions/prior.h"

#define CHECK_NEAR(actual, expected) CHECK(fabs((actual) - (expected)) < 1e-9)

static void test_scale(void);
static void test_fused(void);
static void test_trust(void);

int
main(void)
{
	test_scale();
	test_fused();
	test_trust();
	return check_end("prior_test");
}

/* What priors add at a weight of 0.2: "25 12.5 0" */
static const char *
bonuses(const double *priors, int n, double weight)
{
	static char text[256];
	double		places[8];
	int			len = 0;

	memcpy(places, priors, n * sizeof(double));
	(void) rstar_prior_scale(places, n);
	text[0] = '\0';
	for (int i = 0; i < n; i++)
		len += snprintf(text + len, sizeof(text) - len, "%s%g", i ? " " : "",
						rstar_prior_bonus(places[i], weight));
	return text;
}

static void
test_scale(void)
{
	double		same[] = {7, 7, 7};
	double		none[] = {NAN, NAN};
	double		some[] = {3, NAN, 1};

	CASE("the best adds 100 w / (1 - w), the lowest nothing");
	CHECK_STR(bonuses((double[]) {0.9, 0.5, 0.1}, 3, 0.2), "25 12.5 0");
	CASE("negative distances: the nearest adds most");
	CHECK_STR(bonuses((double[]) {-0.1, -0.5, -0.9}, 3, 0.2), "25 12.5 0");
	CASE("equal priors, one document, no document: nothing");
	CHECK_STR(bonuses((double[]) {7, 7, 7}, 3, 0.2), "0 0 0");
	CHECK(!rstar_prior_scale(same, 3));
	CHECK_STR(bonuses((double[]) {0.3}, 1, 0.2), "0");
	CHECK(!rstar_prior_scale(same, 0));
	CASE("none is the lowest, and the others as if it were not there");
	CHECK_STR(bonuses((double[]) {0.9, NAN, 0.1}, 3, 0.2), "25 0 0");
	CHECK(rstar_prior_scale(some, 3));
	CHECK(some[0] == 1 && isnan(some[1]) && some[2] == 0);
	CHECK(!rstar_prior_scale(none, 2));
	CASE("huge and tiny ones");
	CHECK_STR(bonuses((double[]) {1e308, -1e308, 0}, 3, 0.2), "25 0 12.5");
	CHECK_STR(bonuses((double[]) {5e-324, 0, 0}, 3, 0.2), "25 0 0");
	CASE("weight 0 adds nothing");
	CHECK_STR(bonuses((double[]) {3, 2, 1}, 3, 0), "0 0 0");
	CASE("-ln(rank): the second of four adds half");
	CHECK_STR(bonuses((double[]) {-log(1), -log(2), -log(4)}, 3, 0.2), "25 12.5 0");
	CASE("order, none among the lowest");
	CHECK_INT(rstar_prior_compare(0.5, 0.2), 1);
	CHECK_INT(rstar_prior_compare(0.2, 0.5), -1);
	CHECK_INT(rstar_prior_compare(NAN, 0), 0);
	CHECK_INT(rstar_prior_compare(NAN, 0.1), -1);
}

static void
test_fused(void)
{
	CASE("(1 - w) * score + w * 100 * place");
	CHECK_NEAR(rstar_prior_fused(80, 1, 0.2), 84);
	CHECK_NEAR(rstar_prior_fused(80, 0.5, 0.2), 74);
	CHECK_NEAR(rstar_prior_fused(80, 0, 0.2), 64);
	CHECK_NEAR(rstar_prior_fused(80, NAN, 0.2), 64);
	CHECK_NEAR(rstar_prior_fused(100, 1, 0.2), 100);
	CHECK_NEAR(rstar_prior_fused(0, 0, 0.2), 0);
	CASE("weight 0: the score, exactly");
	CHECK(rstar_prior_fused(100.0 / 3, 0.7, 0) == 100.0 / 3);
	CASE("a bonus orders as fused values do");
	CHECK(75 + rstar_prior_bonus(0, 0.2) == 50 + rstar_prior_bonus(1, 0.2));
	CHECK(rstar_prior_fused(75, 0, 0.2) == rstar_prior_fused(50, 1, 0.2));
}

static void
test_trust(void)
{
	RstarPriorFit fit = {0};

	CASE("fewer than three: no correlation, half of the trust");
	rstar_prior_fit(&fit, 0, 10);
	rstar_prior_fit(&fit, 1, 90);
	CHECK(rstar_prior_correlation(&fit) == 0);
	CHECK_NEAR(rstar_prior_trust(0), 0.5);
	CASE("in a line, without those that have no prior");
	rstar_prior_fit(&fit, NAN, 0);
	rstar_prior_fit(&fit, 0.5, 50);
	CHECK_INT(fit.n, 3);
	CHECK_NEAR(rstar_prior_correlation(&fit), 1);
	CASE("against each other");
	fit = (RstarPriorFit) {0};
	for (int i = 0; i < 4; i++)
		rstar_prior_fit(&fit, i / 3.0, 90 - 20 * i);
	CHECK_NEAR(rstar_prior_correlation(&fit), -1);
	/* deviations -1.5 -.5 .5 1.5 and -15 5 -5 15: 50 / sqrt(5 * 500) */
	CASE("somewhat");
	fit = (RstarPriorFit) {0};
	for (int i = 0; i < 4; i++)
		rstar_prior_fit(&fit, i / 3.0, (int[]) {30, 50, 40, 60}[i]);
	CHECK_NEAR(rstar_prior_correlation(&fit), 0.8);
	CASE("scores that do not differ");
	fit = (RstarPriorFit) {0};
	for (int i = 0; i < 9; i++)
		rstar_prior_fit(&fit, i / 8.0, 100.0 / 3);
	CHECK(rstar_prior_correlation(&fit) == 0);
	CASE("a ramp from -0.1 to 0.1");
	CHECK_NEAR(rstar_prior_trust(-1), 0);
	CHECK_NEAR(rstar_prior_trust(-0.1), 0);
	CHECK_NEAR(rstar_prior_trust(-0.05), 0.25);
	CHECK_NEAR(rstar_prior_trust(0.1), 1);
	CHECK_NEAR(rstar_prior_trust(1), 1);
	CASE("reversed: of twenty, by two standard errors");
	CHECK(!rstar_prior_reversed(19, -1));
	CHECK(rstar_prior_reversed(20, -0.45));
	CHECK(!rstar_prior_reversed(20, -0.44));
	CHECK(rstar_prior_reversed(100, -0.21));
	CHECK(!rstar_prior_reversed(100, -0.2));
}
