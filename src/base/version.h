/*-------------------------------------------------------------------------
 *
 * version.h
 *		The version of the library, and of the SQL objects that it serves.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_VERSION_H
#define RSTAR_VERSION_H

#include "postgres.h"

/* default_version of retrostar.control */
#define RSTAR_VERSION	"0.2.0"

/* That of the extension in this database, palloc'd; NULL when it is not there */
extern char *rstar_version_sql(void);

/* What differs, and what to do, palloc'd; both NULL when nothing does */
typedef struct RstarVersionFault
{
	char	   *message;
	char	   *hint;
} RstarVersionFault;

extern RstarVersionFault rstar_version_fault(void);

/* Raises an error (55000) when the SQL objects are of another version */
extern void rstar_version_require(void);

#endif							/* RSTAR_VERSION_H */
