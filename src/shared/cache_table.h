/*-------------------------------------------------------------------------
 *
 * cache_table.h
 *		The cache table: names, columns, and whether it is as it was made.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_CACHE_TABLE_H
#define RSTAR_CACHE_TABLE_H

#include "postgres.h"

#include "utils/relcache.h"

#define RSTAR_CACHE_SCHEMA	"retrostar"
#define RSTAR_CACHE_TABLE	"score_cache"

/* Version of key and row; part of the key, too */
#define RSTAR_CACHE_VERSION 1

/* Its columns, in the order of the install script */
#define RSTAR_CACHE_COL_KEY 1
#define RSTAR_CACHE_COL_VERSION 2
#define RSTAR_CACHE_COL_SCORES 3
#define RSTAR_CACHE_COL_UNSCORED 4
#define RSTAR_CACHE_COL_MODEL 5
#define RSTAR_CACHE_COL_PROMPT_TOKENS 6
#define RSTAR_CACHE_COL_COMPLETION_TOKENS 7
#define RSTAR_CACHE_COL_CREATED 8
#define RSTAR_CACHE_COL_UPDATED 9
#define RSTAR_CACHE_COL_REASONING 10

/* A relation of the schema; InvalidOid when it does not exist */
extern Oid	rstar_cache_relation(const char *name);

/* The table, and its primary key, likewise */
extern Oid	rstar_cache_table(void);
extern Oid	rstar_cache_index(void);

/* Raises an error for what is no plain table */
extern void rstar_cache_check_kind(Relation table);

/* Raises an error unless the columns are of the types that they are read as */
extern void rstar_cache_check_columns(Relation table);

/* Both, and for what else nothing can be written into it, with the cause */
extern void rstar_cache_check_storable(Relation table);

#endif							/* RSTAR_CACHE_TABLE_H */
