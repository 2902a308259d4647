/*-------------------------------------------------------------------------
 *
 * grammar.h
 *		Would llama-server take this grammar?
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef SIM_GRAMMAR_H
#define SIM_GRAMMAR_H

#include <stdbool.h>

/* A check of GBNF, as far as grammar.c says */
extern bool sim_grammar_valid(const char *text);

#endif							/* SIM_GRAMMAR_H */
