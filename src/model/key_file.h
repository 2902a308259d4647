/*-------------------------------------------------------------------------
 *
 * key_file.h
 *		Reads the file of the option api_key_file.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#ifndef RSTAR_KEY_FILE_H
#define RSTAR_KEY_FILE_H

#include "postgres.h"

/*
 * The key in this file, palloc'd.  Trailing white space is cut; a control
 * character before that is an error (it would split a header), and so is a file
 * that cannot be read, is empty, or is longer than 64 kB.
 */
extern char *rstar_key_file_read(const char *path);

#endif							/* RSTAR_KEY_FILE_H */
