// SPDX-License-Identifier: MIT
/* run.c - see run.h. Output goes to files: no pipe to empty while it runs. */
#include "run.h"

#include <pty.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS 16

int wrong;

bool check(bool good, const char *format, ...)
{
	va_list args;

	if (good)
		return true;
	va_start(args, format);
	fputs("WRONG: ", stdout);
	vprintf(format, args);
	putchar('\n');
	va_end(args);
	wrong++;
	return false;
}

static void become(const char *program, const char *line, prepare_fn *prepare)
{
	char words[512], *argv[WORDS] = {(char *)program}, *save = NULL;
	int n = 1;

	snprintf(words, sizeof(words), "%s", line);
	for (char *w = strtok_r(words, " ", &save); w && n < WORDS - 1;
	     w = strtok_r(NULL, " ", &save))
		argv[n++] = w;
	if (prepare)
		prepare();
	execv(program, argv);
	perror(program);
	_exit(126);
}

static char *slurp(FILE *f)
{
	long size;
	char *text;

	fseek(f, 0, SEEK_END);
	size = ftell(f);
	rewind(f);
	text = calloc(1, (size_t)size + 1);
	if (!text || fread(text, 1, (size_t)size, f) != (size_t)size)
		abort();
	fclose(f);
	return text;
}

static void finish(struct run *r, pid_t pid)
{
	int status;

	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		abort();
	r->status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	r->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

void run(struct run *r, const char *program, const char *line, prepare_fn *prepare)
{
	FILE *out = tmpfile(), *err = tmpfile();
	pid_t pid;

	if (!out || !err)
		abort();
	pid = fork();
	if (!pid) {
		dup2(fileno(out), 1);
		dup2(fileno(err), 2);
		become(program, line, prepare);
	}
	finish(r, pid);
	free(r->out);
	free(r->err);
	r->out = slurp(out);
	r->err = slurp(err);
}

void run_on_terminal(struct run *r, const char *program, const char *line, prepare_fn *prepare)
{
	char buffer[4096];
	FILE *out = tmpfile();
	int master;
	ssize_t n;
	pid_t pid;

	if (!out)
		abort();
	pid = forkpty(&master, NULL, NULL, NULL);
	if (!pid)
		become(program, line, prepare);
	/* EIO is a terminal's end of file. */
	while ((n = read(master, buffer, sizeof(buffer))) > 0)
		fwrite(buffer, 1, (size_t)n, out);
	finish(r, pid);
	close(master);
	free(r->out);
	free(r->err);
	r->out = slurp(out);
	r->err = NULL;
}
