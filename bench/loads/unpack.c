// SPDX-License-Identifier: MIT
/* unpack.c - a recording from its file, by way of gzip(1) if it is compressed. */
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loads.h"

#define MOST (64ul << 20)

/* The whole of it; NULL: no memory, or too long. */
static char *read_all(int fd, size_t *n)
{
	char *data = NULL;
	size_t room = 0;

	for (*n = 0;;) {
		ssize_t got;

		if (*n == room) {
			char *more = room < MOST ? realloc(data, room + (1 << 16)) : NULL;

			if (!more)
				break;
			data = more;
			room += 1 << 16;
		}
		got = read(fd, data + *n, room - *n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return data;
		*n += (size_t)got;
	}
	free(data);
	return NULL;
}

static char *gunzip(const char *path, size_t *n)
{
	int pipes[2], status = -1;
	char *data = NULL;
	pid_t pid;

	if (pipe(pipes))
		return NULL;
	pid = fork();
	if (!pid) {
		dup2(pipes[1], 1);
		close(pipes[0]);
		close(pipes[1]);
		execlp("gzip", "gzip", "-dc", "--", path, (char *)NULL);
		_exit(127);
	}
	close(pipes[1]);
	if (pid > 0) {
		data = read_all(pipes[0], n);
		close(pipes[0]);
		if (waitpid(pid, &status, 0) == pid && status == 0)
			return data;
	} else {
		close(pipes[0]);
	}
	free(data);
	return NULL;
}

int load_read(const char *directory, const char *name, struct recording *r, char *why,
	      size_t size)
{
	char path[PATH_MAX];
	char *data;
	size_t n;
	int ret;

	snprintf(path, sizeof(path), "%s/%s.rec", directory, name);
	if (access(path, R_OK) == 0)
		return record_read(path, r, why, size);
	snprintf(path, sizeof(path), "%s/%s.rec.gz", directory, name);
	if (access(path, R_OK)) {
		snprintf(why, size, "not recorded: bench/record.sh");
		return -1;
	}
	data = gunzip(path, &n);
	if (!data) {
		snprintf(why, size, "gzip cannot read it");
		return -1;
	}
	ret = record_parse(data, n, r, why, size);
	free(data);
	return ret;
}
