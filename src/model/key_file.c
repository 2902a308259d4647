/*-------------------------------------------------------------------------
 *
 * key_file.c
 *		Reads the file of the option api_key_file.
 *
 * Copyright (c) 2026, the retrostar authors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/fd.h"

#include "model/key_file.h"

#define MAX_KEY_FILE_LEN	65536

static int	read_small_file(const char *path, char *buf, int size);

char *
rstar_key_file_read(const char *path)
{
	char	   *key = palloc(MAX_KEY_FILE_LEN + 2);
	int			len = read_small_file(path, key, MAX_KEY_FILE_LEN + 1);

	if (len > MAX_KEY_FILE_LEN)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("API key file \"%s\" is longer than %d bytes", path, MAX_KEY_FILE_LEN)));
	while (len > 0 && strchr(" \t\r\n\f\v", key[len - 1]) != NULL && key[len - 1] != '\0')
		len--;
	key[len] = '\0';

	if (len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("API key file \"%s\" is empty", path)));
	for (int i = 0; i < len; i++)
	{
		if ((unsigned char) key[i] < ' ' || key[i] == '\177')
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("API key file \"%s\" contains a control character", path),
					 errhint("The file holds the key on one line and nothing else.")));
	}
	return key;
}

/* Up to "size" bytes; the number read */
static int
read_small_file(const char *path, char *buf, int size)
{
	/* O_NONBLOCK: a FIFO must not stop the worker */
	int			fd = OpenTransientFile(path, O_RDONLY | O_NONBLOCK | PG_BINARY);
	struct stat status;
	int			len = 0;

	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open API key file \"%s\": %m", path)));
	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("API key file \"%s\" is not a regular file", path)));
	while (len < size)
	{
		int			n = read(fd, buf + len, size - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not read API key file \"%s\": %m", path)));
		if (n == 0)
			break;
		len += n;
	}
	CloseTransientFile(fd);
	return len;
}
